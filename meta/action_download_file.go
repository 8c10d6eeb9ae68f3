package meta

import (
	"context"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/fetch"
)

// downloaded is the data of download_file.
type downloaded struct {
	File string `json:"file"`          // absolute path
	URL  string `json:"url,omitempty"` // where it can be fetched, if files are served
}

// wanted is what a call of download_file asks for: the file at URL or, where
// that is nil, the content.
type wanted struct {
	fetch.Request
	content string // in base64
}

// downloadFile stores the file at a URL, or content sent as base64, and
// returns its path. Its parameters are url or base64, headers (a string of
// "K: V" lines or an array of them), name (of which only the extension is
// used) and thread_count (unused: a download is one stream).
//
// A download is logged once, however many calls wait for it, and also when
// none does any more.
func (d *Dispatcher) downloadFile(_ context.Context, call *Call) (any, error) {
	start := time.Now()
	want, err := parseWanted(call.Params)
	want.Unclaimed = call.unanswered
	report := func(file fetch.Result, err error) { d.report(want, start, file, err) }
	var file fetch.Result
	switch {
	case err != nil:
		report(file, err)
	case want.URL == nil:
		file, err = d.opts.Files.Keep(want.content, want.Name)
		report(file, err)
	default:
		var waiting *fetch.Waiting
		if file, waiting, err = d.opts.Files.Start(want.Request, report); waiting != nil {
			return awaited{waiting, call.FileURL}, nil
		}
	}
	return dataOf(file, err, call.FileURL)
}

// awaited is a call that waits for its file.
type awaited struct {
	*fetch.Waiting
	fileURL func(name string) string
}

func (w awaited) data(ctx context.Context) (any, error) {
	file, err := w.Result(ctx)
	return dataOf(file, err, w.fileURL)
}

func dataOf(file fetch.Result, err error, fileURL func(name string) string) (any, error) {
	if err != nil {
		failure, _ := explain(err)
		return nil, failure
	}
	data := downloaded{File: file.Path}
	if fileURL != nil {
		data.URL = fileURL(file.Name)
	}
	return data, nil
}

func parseWanted(p Params) (want wanted, err error) {
	if want.Name, err = p.text("name"); err != nil {
		return want, err
	}
	if want.content, err = p.text("base64"); err != nil {
		return want, err
	}
	raw, err := p.text("url")
	if err != nil {
		return want, err
	}
	switch {
	case raw != "" && want.content != "":
		return want, BadRequest("give either url or base64, not both", "url 与 base64 只能提供其一")
	case want.content != "":
		return want, nil
	case raw == "":
		return want, BadRequest("url is missing", "缺少参数 url")
	}
	lines, err := p.lines("headers")
	if err != nil {
		return want, err
	}
	if want.Header, err = fetch.ParseHeaders(lines); err != nil {
		return want, err
	}
	want.URL, err = fetch.ParseURL(raw)
	return want, err
}
