package integration

import (
	"fmt"
	"net/http"
	"strings"
)

// tooMuch is the version of a file that is larger than max_size.
const tooMuch = 99

// body returns a version of the file.
func (o *scripted) body(version int) string {
	switch {
	case version == tooMuch:
		return filler(caseMaxSize + 1)
	case o.c.kind == empty:
		return ""
	case version == 1:
		return filler(caseSize)
	}
	return letters(caseSize)
}

// now returns the file as it is now.
func (o *scripted) now() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.body(o.version)
}

// want returns what the case has to download, if it gets anything.
func (o *scripted) want() string {
	if o.c.trouble.is(tooShort) && o.c.way != goingOn {
		return o.now()[:caseSize-lengthError]
	}
	return o.now()
}

// lengthError is by how much a wrong length is wrong.
const lengthError = 10

// said is a part of an answer, which begins at a stage; what was said is all of
// it if it is the last.
type said struct {
	at   stage
	text string
	last bool
}

// answer returns the answer to request n, as a good origin gives it but for the
// trouble with it, if that comes here.
func (o *scripted) answer(req *http.Request, n int, here bool) []said {
	here = here && o.c.trouble.class == ofAnswer
	f := o.c.trouble
	if here {
		o.mu.Lock()
		if f == newVersion {
			o.version = 2
		} else if f == tooLarge {
			o.version = tooMuch
		}
		o.mu.Unlock()
	}
	o.mu.Lock()
	version := o.version
	o.mu.Unlock()
	whole, tag := o.body(version), fmt.Sprintf(`"v%d"`, version)

	status, header, body := "200 OK", "", whole
	start := 0
	switch {
	case req.URL.Path == "/moved":
		return o.parts("302 Found", "Location: /file.bin\r\n", "", known, 0)
	case here && f.status != 0:
		if f.status == http.StatusServiceUnavailable {
			header = "Retry-After: 1\r\n"
		}
		return o.parts(fmt.Sprint(f.status, " Trouble"), header, "not the file", known, 0)
	case req.Header.Get("If-None-Match") == tag:
		return o.parts("304 Not Modified", "ETag: "+tag+"\r\nCache-Control: no-cache\r\n", "", "", 0)
	case req.Header.Get("If-Range") == tag:
		_, _ = fmt.Sscanf(req.Header.Get("Range"), "bytes=%d-", &start)
		if start >= len(whole) {
			return o.parts("416 Range Not Satisfiable", fmt.Sprintf("Content-Range: bytes */%d\r\n", len(whole)), "", known, 0)
		}
		first := start
		if here && f == wrongRange {
			first++
		}
		status, body = "206 Partial Content", whole[first:]
		header = fmt.Sprintf("Content-Range: bytes %d-%d/%d\r\n", first, len(whole)-1, len(whole))
	}
	wrong := 0
	if here && f.is(tooLong) {
		wrong = lengthError
	} else if here && f.is(tooShort) {
		wrong = -lengthError
	}
	all := o.parts(status, header+"ETag: "+tag+"\r\nCache-Control: no-cache\r\n", body, o.c.kind, wrong)
	if o.c.way == goingOn && n == 1 {
		for i := range all {
			all[i].last = all[i].at == afterHead // of which the rest comes later
		}
	}
	return all
}

// parts returns an answer by the stages at which its parts begin. A body without
// a kind is none.
func (o *scripted) parts(status, header, body string, k kind, wrongBy int) []said {
	head := "HTTP/1.1 " + status + "\r\nConnection: close\r\n" + header
	switch k {
	case inChunks:
		head += "Transfer-Encoding: chunked\r\n"
	case known, empty:
		head += fmt.Sprintf("Content-Length: %d\r\n", len(body)+wrongBy)
	}
	head += "\r\n"
	inName := strings.Index(head, "\r\nConn") + len("\r\nConn")
	half, most := len(body)/2, max(len(body)-1, len(body)/2)
	chunk := func(s string) string {
		if k == inChunks && s != "" {
			return fmt.Sprintf("%x\r\n%s\r\n", len(s), s)
		}
		return s
	}
	end := ""
	if k == inChunks {
		end = "0\r\n\r\n"
	}
	return []said{
		{at: requested, text: head[:len("HTTP/1.1 2")]},
		{at: inStatus, text: head[len("HTTP/1.1 2"):inName]},
		{at: inHeaders, text: head[inName:]},
		{at: afterHead, text: chunk(body[:half])},
		{at: inBody, text: chunk(body[half:most])},
		{at: lastByte, text: chunk(body[most:])},
		{at: chunksEnd, text: end},
	}
}

// mayKeep reports whether something is what the origin has sent as a whole file.
func (o *scripted) mayKeep(content string) bool {
	for _, version := range []int{1, 2} {
		whole := o.body(version)
		if content == whole || o.c.trouble.is(tooShort) && strings.HasPrefix(whole, content) && len(content) == len(whole)-lengthError {
			return true
		}
	}
	return false
}
