package integration

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// large returns the size of a body that no proxy should keep in memory.
func large() int {
	if raceEnabled { // which makes everything slow
		return 20 << 20
	}
	return 100 << 20
}

// letThrough writes a body of some size whose first bytes are known, and waits
// after these for the other end to have got them. It returns the digest.
func letThrough(ctx context.Context, w io.Writer, flush func(), first string, got <-chan struct{}) (string, error) {
	sum := sha256.New()
	to := io.MultiWriter(w, sum)
	if _, err := io.WriteString(to, first); err != nil {
		return "", err
	}
	flush()
	select {
	case <-got:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	block := []byte(filler(1 << 20))
	for range large() / len(block) {
		if _, err := to.Write(block); err != nil {
			return "", err
		}
	}
	_, err := io.WriteString(to, `"}`)
	return fmt.Sprintf("%x", sum.Sum(nil)), err
}

// takeIn reads a body, says when the first bytes are there, and returns the
// digest.
func takeIn(r io.Reader, first string, got func()) (string, error) {
	sum := sha256.New()
	from := io.TeeReader(r, sum)
	head := make([]byte, len(first))
	if _, err := io.ReadFull(from, head); err != nil {
		return "", err
	}
	if string(head) != first {
		return "", fmt.Errorf("it begins with %q", head)
	}
	got()
	_, err := io.Copy(io.Discard, from)
	return fmt.Sprintf("%x", sum.Sum(nil)), err
}

func TestBodiesStreamThroughInBothDirections(t *testing.T) {
	b := newBackend(t)
	c := startCaddy(t, "http://<SITE> {\n"+front("", b)+"}\nhttps://<OTHER> {\n tls internal\n"+front("", b)+"}", overTLS)
	t.Cleanup(b.release)
	awaitTLS(t, c.other)
	before := peakMemory(t, c.pid)
	digests := make(chan string, 1)
	got := make(chan struct{}, 1) // the first bytes, at the other end
	first := ""
	upload := func(w http.ResponseWriter, r *http.Request) {
		sum, err := takeIn(r.Body, first, func() { got <- struct{}{} })
		if err != nil {
			sum = err.Error()
		}
		digests <- sum
	}
	download := func(w http.ResponseWriter, r *http.Request) {
		sum, err := letThrough(b.life, w, func() { _ = http.NewResponseController(w).Flush() }, first, got)
		if err != nil {
			sum = err.Error()
		}
		digests <- sum
	}
	for _, path := range []string{"/up/send_msg", "/up/upload_group_file", "/"} {
		b.handle(path, upload)
	}
	for _, action := range []string{"send_down_msg", "get_image"} {
		b.handle(action, download)
	}
	for protocol, client := range map[string]client{
		"HTTP/1.1": c.client, "HTTP/1.1 over TLS": newTLSClient("https://"+c.other, false), "HTTP/2": newTLSClient("https://"+c.other, true),
	} {
		t.Cleanup(client.CloseIdleConnections)
		for name, up := range map[string]struct{ path, first string }{
			"a message":                   {"/up/send_msg", `{"message":"`},
			"another call":                {"/up/upload_group_file", `{"file":"base64://`},
			"a call in an envelope":       {"/", `{"action":"upload_group_file","params":"`},
			"an event":                    {"/", `{"post_type":"message","message":"`},
			"what may become JSON":        {"/up/send_msg", `  `},
			"what does not look like one": {"/", `binary`},
		} {
			t.Run(protocol+" up: "+name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				first = up.first
				r, w := io.Pipe()
				sent := make(chan string, 1)
				go func() {
					sum, err := letThrough(ctx, w, func() {}, first, got)
					_ = w.CloseWithError(err)
					sent <- sum
				}()
				req, err := http.NewRequestWithContext(ctx, "POST", client.base+up.path, r)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := client.Do(req)
				if err != nil {
					_ = r.CloseWithError(err)
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				if sum, want := receive(t, digests, "the body at the backend"), receive(t, sent, "the sender to end"); sum != want || resp.StatusCode != 200 {
					t.Errorf("the answer is %d, and the backend got %s instead of %s", resp.StatusCode, sum, want)
				}
			})
		}
		for name, action := range map[string]string{"the answer to a message": "send_down_msg", "another answer": "get_image"} {
			t.Run(protocol+" down: "+name, func(t *testing.T) {
				first = `{"status":"ok","data":"`
				resp, err := client.Post(client.base+"/"+action, "application/json", strings.NewReader("{}"))
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				sum, err := takeIn(resp.Body, first, func() { got <- struct{}{} })
				if want := receive(t, digests, "the backend to end"); err != nil || sum != want {
					t.Errorf("the client got %s instead of %s (%v)", sum, want, err)
				}
			})
		}
	}
	if more := peakMemory(t, c.pid) - before; more > int64(large())/2 && !raceEnabled {
		t.Errorf("Caddy took %d MiB more of memory", more>>20)
	}
}
