package fetch

import (
	"cmp"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

const png = "\x89PNG\r\n\x1a\n"

func TestTheExtensionTellsTheTypeOfAFile(t *testing.T) {
	for name, tt := range map[string]struct {
		name, asked, answered, disposition, contentType, content string
		want                                                     string
	}{
		"the name wins":                  {"a.amr", "/b.silk", "/c.mp3", `attachment; filename="d.wav"`, "audio/ogg", png, "amr"},
		"then the URL that was asked":    {"", "/b.silk", "/c.mp3", `attachment; filename="d.wav"`, "audio/ogg", png, "silk"},
		"then the URL that answered":     {"", "/b", "/c.mp3", `attachment; filename="d.wav"`, "audio/ogg", png, "mp3"},
		"then Content-Disposition":       {"", "/b", "/c", `attachment; filename="d.wav"`, "image/gif", png, "wav"},
		"then the media type":            {"", "/b", "/c", "inline", "image/gif", png, "gif"},
		"with parameters":                {"", "/", "/", "", "text/html; charset=utf-8", png, "html"},
		"then the content":               {"", "/", "/", "", "application/octet-stream", png, "png"},
		"and nothing is binary":          {"", "/", "/", "", "", "\x00\x01", "bin"},
		"the encoded name is the better": {"", "/", "/", `attachment; filename="x.txt"; filename*=UTF-8''%E4%B8%AD.pdf`, "", "", "pdf"},
		"lower case":                     {"A.JPG", "/", "/", "", "", "", "jpg"},
		"the last of two":                {"a.tar.gz", "/", "/", "", "", "", "gz"},
		"directories do not count":       {"../../etc/x.d/passwd", "/b.txt", "/", "", "", "", "txt"},
		"ten characters":                 {"a.abcdefghij", "/", "/", "", "", "", "abcdefghij"},
		"not eleven":                     {"a.abcdefghijk", "/b.txt", "/", "", "", "", "txt"},
		"not Chinese":                    {"a.图片", "/b.txt", "/", "", "", "", "txt"},
		"not a stream of NTFS":           {"a.txt:evil.exe:x", "/b.txt", "/", "", "", "", "txt"},
		"not a path":                     {`a.b\..\c.d/`, "/b.txt", "/", "", "", "", "txt"},
		"a dot at the end is none":       {"a.", "/b.txt", "/", "", "", "", "txt"},
		"nor a broken disposition":       {"", "/", "/", `attachment; filename=`, "image/gif", "", "gif"},
		"nor an unknown type":            {"", "/", "/", "", "x/y", png, "png"},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{"Content-Disposition": {tt.disposition}, "Content-Type": {tt.contentType}}
			req := Request{URL: &url.URL{Path: tt.asked}, Name: tt.name}
			got := cmp.Or(extension(req, &url.URL{Path: tt.answered}, header), contentExtension(strings.NewReader(tt.content)))
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

var goodExtension = regexp.MustCompile(`^[a-z0-9]{1,10}$`)

var anExtension = regexp.MustCompile(`\.([A-Za-z0-9]{1,10})$`)

func FuzzExtension(f *testing.F) {
	f.Add("a.png", "/b.jpg", `attachment; filename*=UTF-8''%2e%2e%2fx`, "image/png", png)
	f.Add("a.\x00", "/../x.", `attachment; filename="\..\"`, "x/y;z", "<html>")
	f.Fuzz(func(t *testing.T, name, path, disposition, contentType, content string) {
		header := http.Header{"Content-Disposition": {disposition}, "Content-Type": {contentType}}
		got := extension(Request{URL: &url.URL{}, Name: name}, &url.URL{Path: path}, header)
		if got == "" {
			got = contentExtension(strings.NewReader(content))
		}
		if !goodExtension.MatchString(got) {
			t.Errorf("got %q", got)
		}
		_, params, err := mime.ParseMediaType(disposition)
		if err != nil {
			params = nil
		}
		for _, from := range []string{name, path, params["filename"]} { // the first that has one counts
			if m := anExtension.FindStringSubmatch(from); m != nil {
				if want := strings.ToLower(m[1]); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				break
			}
		}
	})
}
