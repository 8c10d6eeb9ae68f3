package fetch

import (
	"bufio"
	"errors"
	"net/http"
	"net/textproto"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"
)

func TestParseHeaders(t *testing.T) {
	for name, tt := range map[string]struct {
		lines []string
		want  http.Header
		kind  Kind
	}{
		"none":                     {nil, http.Header{}, 0},
		"empty lines":              {[]string{"", " "}, http.Header{}, 0},
		"names are canonical":      {[]string{"user-agent: bot"}, http.Header{"User-Agent": {"bot"}}, 0},
		"white space is trimmed":   {[]string{"A:b", "C: \t d e \t"}, http.Header{"A": {"b"}, "C": {"d e"}}, 0},
		"a value may have colons":  {[]string{"Referer: https://a:1/"}, http.Header{"Referer": {"https://a:1/"}}, 0},
		"a name may be repeated":   {[]string{"A: 1", "a: 2"}, http.Header{"A": {"1", "2"}}, 0},
		"an empty value":           {[]string{"A:"}, http.Header{"A": {""}}, 0},
		"a value in Chinese":       {[]string{"A: 中"}, http.Header{"A": {"中"}}, 0},
		"a host":                   {[]string{"Host: a.example:80"}, http.Header{"Host": {"a.example:80"}}, 0},
		"no compression":           {[]string{"accept-encoding: gzip"}, http.Header{}, 0},
		"no colon":                 {[]string{"A"}, nil, BadHeader},
		"an equals sign":           {[]string{"A=b"}, nil, BadHeader},
		"no name":                  {[]string{": b"}, nil, BadHeader},
		"a space in the name":      {[]string{"A b: c"}, nil, BadHeader},
		"a space before the colon": {[]string{"A : b"}, nil, BadHeader},
		"a folded line":            {[]string{"A: b", " c: d"}, nil, BadHeader},
		"a line break":             {[]string{"A: b\r\nC: d"}, nil, BadHeader},
		"a bare line feed":         {[]string{"A: b\nC: d"}, nil, BadHeader},
		"a NUL":                    {[]string{"A: b\x00"}, nil, BadHeader},
		"two hosts":                {[]string{"Host: a", "Host: b"}, nil, BadHeader},
		"an empty host":            {[]string{"Host:"}, nil, BadHeader},
		"a host with a space":      {[]string{"Host: a b"}, nil, BadHeader},
	} {
		t.Run(name, func(t *testing.T) {
			checkHeaders(t, tt.lines, tt.want, tt.kind)
		})
	}
	for _, name := range []string{
		"Connection", "content-length", "Expect", "HTTP2-Settings", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection",
		"TE", "Trailer", "Transfer-Encoding", "Upgrade", "Range", "If-Match", "If-None-Match", "If-Modified-Since",
		"If-Unmodified-Since", "If-Range",
	} {
		t.Run(name+" is not the caller's to set", func(t *testing.T) {
			checkHeaders(t, []string{name + ": 1"}, nil, RefusedHeader)
		})
	}
}

func checkHeaders(t *testing.T, lines []string, want http.Header, kind Kind) {
	t.Helper()
	got, err := ParseHeaders(lines)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if e, ok := errors.AsType[*Error](err); kind != 0 && (!ok || e.Kind != kind) || kind == 0 && err != nil {
		t.Errorf("got error %v", err)
	}
}

func FuzzParseHeaders(f *testing.F) {
	for _, seed := range []string{"A: b", "A: b\nC: d", "Host: x", "Range: 1", "A\x00: b", "A : b", "Proxy-X: 1", ":"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, headers string) {
		lines := strings.Split(headers, "\n")
		header, err := ParseHeaders(lines)
		if err != nil {
			return
		}
		lines = slices.DeleteFunc(lines, func(line string) bool { return strings.TrimSpace(line) == "" })
		want, err := textproto.NewReader(bufio.NewReader(strings.NewReader(strings.Join(append(lines, "", ""), "\r\n")))).ReadMIMEHeader()
		want.Del("Accept-Encoding")
		if err != nil || !reflect.DeepEqual(header, http.Header(want)) {
			t.Errorf("%q: got %q, want %q, %v", headers, header, want, err)
		}
		for name, values := range header {
			if !httpguts.ValidHeaderFieldName(name) || refusedHeaders[name] {
				t.Errorf("name %q got through", name)
			}
			for _, value := range values {
				if !httpguts.ValidHeaderFieldValue(value) {
					t.Errorf("value %q got through", value)
				}
			}
		}
	})
}
