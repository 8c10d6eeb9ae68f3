package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// client calls actions and sees to it that every answer is a proper one.
type client struct {
	*http.Client
	base string // of URLs, without a slash at its end
}

func newClient(base string) client {
	transport := &http.Transport{DialContext: dialLoopback, MaxIdleConnsPerHost: 100}
	return client{&http.Client{Transport: collector{transport}, Timeout: patience}, base}
}

// dialLoopback connects to this machine only, whatever a test asks for.
func dialLoopback(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("%s is not on loopback", addr)
	}
	return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(host, port))
}

// reply is an answer that was checked.
type reply struct {
	http   int
	header http.Header
	body   string

	status           string
	retcode          int
	data, echo       json.RawMessage // echo is nil if there is none
	message, wording string
}

// httpRetcodes are the retcodes that belong to an HTTP status.
var httpRetcodes = map[int]int{
	400: 1400, 401: 1401, 403: 1403, 404: 1404, 405: 1400, 406: 1400, 413: 1400,
}

// parseReply reads an answer and checks what holds for every answer.
func parseReply(resp *http.Response) (reply, error) {
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, fmt.Errorf("reading the body: %w", err)
	}
	r := reply{http: resp.StatusCode, header: resp.Header, body: string(raw)}
	fail := func(format string, args ...any) (reply, error) {
		return r, fmt.Errorf("%s\nin the answer %d %v\n%s", fmt.Sprintf(format, args...), r.http, r.header, r.body)
	}
	if got := resp.Header.Values("Content-Type"); !slices.Equal(got, []string{"application/json; charset=utf-8"}) {
		return fail("Content-Type is %q", got)
	}
	if got := resp.Header.Get("Content-Length"); got != strconv.Itoa(len(raw)) {
		return fail("Content-Length is %q, but the body has %d bytes", got, len(raw))
	}
	for name, at := range map[string]struct {
		status int
		value  string
	}{"WWW-Authenticate": {401, "Bearer"}, "Allow": {405, "GET, POST"}} {
		if got := resp.Header.Get(name); (r.http == at.status) != (got == at.value) || r.http != at.status && got != "" {
			return fail("%s is %q", name, got)
		}
	}
	if !utf8.Valid(raw) {
		return fail("the body is not UTF-8")
	}
	fields, err := parseObject(raw)
	if err != nil {
		return fail("the body is not one JSON object: %v", err)
	}
	failed := string(fields["status"]) == `"failed"`
	for name, dst := range map[string]any{
		"status": &r.status, "retcode": &r.retcode, "data": &r.data, "message": &r.message, "wording": &r.wording,
	} {
		value, ok := fields[name]
		if onFailure := name == "message" || name == "wording"; ok != (failed || !onFailure) {
			return fail("presence of %s is %t", name, ok)
		}
		if ok && json.Unmarshal(value, dst) != nil {
			return fail("%s has the wrong type", name)
		}
		delete(fields, name)
	}
	r.echo = fields["echo"]
	delete(fields, "echo")
	if len(fields) > 0 {
		return fail("unknown fields %v", fields)
	}
	if wrong := r.contradiction(); wrong != "" {
		return fail("%s", wrong)
	}
	return r, nil
}

// readReply reads an answer as it comes over the wire.
func readReply(from io.Reader) (reply, error) {
	resp, err := http.ReadResponse(bufio.NewReader(from), nil)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	return parseReply(resp)
}

// contradiction says how the fields of an envelope contradict each other, if
// they do.
func (r reply) contradiction() string {
	want, refused := httpRetcodes[r.http]
	switch {
	case !refused && r.http != 200:
		return "no such HTTP status"
	case refused && (r.status != "failed" || r.retcode != want || string(r.data) != "null"):
		return "a refused call must have failed, with the retcode of its HTTP status and without data"
	case r.status == "ok" && r.retcode != 0:
		return "ok must have retcode 0"
	case r.status == "async" && (r.retcode != 1 || string(r.data) != "null"):
		return "async must have retcode 1 and no data"
	case r.status == "failed" && !refused && r.retcode != 1400 && r.retcode != 1404:
		return "a failed action must have a retcode of the page"
	case r.status == "failed" && (r.message == "" || strings.ContainsFunc(r.message, isHan)):
		return "message must be English"
	case r.status == "failed" && !strings.ContainsFunc(r.wording, isHan):
		return "wording must be Chinese"
	case r.status != "ok" && r.status != "async" && r.status != "failed":
		return "no such status"
	}
	return ""
}

func isHan(r rune) bool { return unicode.Is(unicode.Han, r) }

// parseObject reads exactly one JSON object in which no name occurs twice.
func parseObject(raw []byte) (map[string]json.RawMessage, error) {
	fields := make(map[string]json.RawMessage)
	dec := json.NewDecoder(bytes.NewReader(raw))
	if token, err := dec.Token(); err != nil || token != json.Delim('{') {
		return nil, fmt.Errorf("it begins with %v (%v)", token, err)
	}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string)
		if _, twice := fields[name]; twice {
			return nil, fmt.Errorf("%s occurs twice", name)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		fields[name] = value
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("something follows it")
	}
	return fields, nil
}

// try sends a request and checks the answer, anywhere.
func (c client) try(method, path, body string, header ...string) (reply, error) {
	// A body must not be a *strings.Reader for the empty one to be chunked.
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, c.base+path, reader)
	if err != nil {
		return reply{}, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	return parseReply(resp)
}

// call sends a request to Caddy, with headers given as names and values, and
// fails the test if the answer is not a proper one.
func (c *instance) call(t testing.TB, method, path, body string, header ...string) reply {
	t.Helper()
	r, err := c.client.try(method, path, body, header...)
	if err != nil {
		t.Fatalf("%s %.200s: %v", method, path, err)
	}
	return r
}

// post calls an action with parameters in JSON.
func (c *instance) post(t testing.TB, path, body string, header ...string) reply {
	t.Helper()
	return c.call(t, "POST", path, body, append(header, "Content-Type", "application/json")...)
}

// want fails the test if the answer is another.
func (r reply) want(t testing.TB, http int, status string, retcode int) reply {
	t.Helper()
	if r.http != http || r.status != status || r.retcode != retcode {
		t.Fatalf("got HTTP %d, %s, retcode %d; want %d, %s, %d\n%s", r.http, r.status, r.retcode, http, status, retcode, r.body)
	}
	return r
}

func (r reply) wantOK(t testing.TB) reply     { t.Helper(); return r.want(t, 200, "ok", 0) }
func (r reply) wantFailed(t testing.TB) reply { t.Helper(); return r.want(t, 200, "failed", 1400) }
func (r reply) wantAsync(t testing.TB) reply  { t.Helper(); return r.want(t, 200, "async", 1) }

// wantRefused is want for an answer that HTTP itself refuses.
func (r reply) wantRefused(t testing.TB, http int) reply {
	t.Helper()
	return r.want(t, http, "failed", httpRetcodes[http])
}

// decode reads the data of an answer into dst, strictly.
func (r reply) decode(t testing.TB, dst any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(r.data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(dst); err != nil {
		t.Fatalf("data: %v\n%s", err, r.body)
	}
}

// file returns the path in the data of download_file.
func (r reply) file(t testing.TB) string {
	t.Helper()
	var data map[string]string
	r.wantOK(t).decode(t, &data)
	if len(data) != 1 || data["file"] == "" {
		t.Fatalf("data must be a file and nothing else: %s", r.data)
	}
	return data["file"]
}

// params are the parameters of a call in JSON.
type params map[string]any

func (p params) String() string {
	b, err := json.Marshal(map[string]any(p))
	if err != nil {
		panic(err)
	}
	return string(b)
}

func query(p map[string]string) string {
	values := make(url.Values)
	for name, value := range p {
		values.Set(name, value)
	}
	return values.Encode()
}

// stat is the stat object of get_status.
type stat map[string]int64

func (c *instance) stat(t testing.TB, path string) stat {
	t.Helper()
	return c.call(t, "GET", path, "").stat(t)
}

// stat returns the counters in an answer of get_status.
func (r reply) stat(t testing.TB) stat {
	t.Helper()
	var data struct{ Stat stat }
	if err := json.Unmarshal(r.wantOK(t).data, &data); err != nil {
		t.Fatal(err)
	}
	return data.Stat
}

// startBot runs Caddy with one site: the handler with some options, and behind
// it one that says what reached it.
func startBot(t testing.TB, handlerOptions string, opts ...option) *instance {
	t.Helper()
	return startCaddy(t, "http://<SITE> {\n\tonebot_meta {\n"+handlerOptions+"\n\t}\n\trespond \"next {http.request.uri}\"\n}\n", opts...)
}
