package caddymodule

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
)

// arrive returns a request as it comes to a handler behind a rewrite.
func arrive(method, target string, behind rewrite.Rewrite) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	r.Host = "bot.example"
	repl := caddy.NewReplacer()
	r = caddyhttp.PrepareRequest(r, repl, httptest.NewRecorder(), nil)
	behind.Rewrite(r, repl)
	return r
}

func TestTheURLOfAFileLeadsBackToIt(t *testing.T) {
	for name, tt := range map[string]struct {
		route, path string // of the call, as the client sends it
		behind      rewrite.Rewrite
		want        string // the path that the client is told
	}{
		"on its own":                         {"/", "/download_file", rewrite.Rewrite{}, "/files/" + servedPNG},
		"below a route":                      {"/onebot", "/onebot/download_file", rewrite.Rewrite{}, "/onebot/files/" + servedPNG},
		"below a route with a slash":         {"/onebot/", "/onebot/download_file/", rewrite.Rewrite{}, "/onebot/files/" + servedPNG},
		"with many slashes":                  {"/onebot", "/onebot//download_file", rewrite.Rewrite{}, "/onebot/files/" + servedPNG},
		"called on the route":                {"/onebot", "/onebot", rewrite.Rewrite{}, "/onebot/files/" + servedPNG},
		"called on the root":                 {"/", "/", rewrite.Rewrite{}, "/files/" + servedPNG},
		"called with a query":                {"/", "/download_file?url=http://a/files/", rewrite.Rewrite{}, "/files/" + servedPNG},
		"called in escapes":                  {"/onebot", "/onebot/download%5Ffile", rewrite.Rewrite{}, "/onebot/files/" + servedPNG},
		"below a route that is not ASCII":    {"/机器人", "/机器人/download_file", rewrite.Rewrite{}, "/%E6%9C%BA%E5%99%A8%E4%BA%BA/files/" + servedPNG},
		"behind handle_path":                 {"/", "/bot/download_file", rewrite.Rewrite{StripPathPrefix: "/bot"}, "/bot/files/" + servedPNG},
		"behind handle_path, below a route":  {"/onebot", "/bot/onebot/download_file", rewrite.Rewrite{StripPathPrefix: "/bot"}, "/bot/onebot/files/" + servedPNG},
		"behind handle_path, on the root":    {"/", "/bot/", rewrite.Rewrite{StripPathPrefix: "/bot"}, "/bot/files/" + servedPNG},
		"behind handle_path, without slash":  {"/", "/bot", rewrite.Rewrite{StripPathPrefix: "/bot"}, "/bot/files/" + servedPNG},
		"behind handle_path, on the route":   {"/onebot", "/bot/onebot", rewrite.Rewrite{StripPathPrefix: "/bot"}, "/bot/onebot/files/" + servedPNG},
		"behind handle_path, named as it is": {"/bot", "/bot/bot/download_file", rewrite.Rewrite{StripPathPrefix: "/bot"}, "/bot/bot/files/" + servedPNG},
		"behind handle_path, with slashes":   {"/", "/bot//download_file", rewrite.Rewrite{StripPathPrefix: "/bot"}, "/bot/files/" + servedPNG},
		"behind a prefix with a slash in it": {"/onebot", "/a%2Fb/onebot/download_file", rewrite.Rewrite{StripPathPrefix: "/a%2Fb"}, "/a%2Fb/onebot/files/" + servedPNG},
		"behind a prefix with a space":       {"/", "/my%20bot/download_file", rewrite.Rewrite{StripPathPrefix: "/my bot"}, "/my%20bot/files/" + servedPNG},
		"behind a prefix that is not ASCII":  {"/", "/机器人/download_file", rewrite.Rewrite{StripPathPrefix: "/%E6%9C%BA%E5%99%A8%E4%BA%BA"}, "/%E6%9C%BA%E5%99%A8%E4%BA%BA/files/" + servedPNG},
		"behind a prefix and in escapes":     {"/", "/bot/download%5Ffile", rewrite.Rewrite{StripPathPrefix: "/bot"}, "/bot/files/" + servedPNG},
		"behind a rewrite to the route":      {"/onebot", "/download_file", rewrite.Rewrite{URI: "/onebot{http.request.uri}"}, "/files/" + servedPNG},
		"behind a rewrite of the root":       {"/onebot", "/", rewrite.Rewrite{URI: "/onebot{http.request.uri}"}, "/files/" + servedPNG},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := serving(t, func(h *Handler) { h.Route = tt.route })
			got := h.fileURL(arrive("POST", tt.path, tt.behind), servedPNG)
			if want := "http://bot.example" + tt.want; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			u, err := url.Parse(got)
			if err != nil {
				t.Fatal(err)
			}
			back := arrive("GET", u.RequestURI(), tt.behind)
			if name, ok := h.servedName(back.URL.Path); !ok || name != servedPNG {
				t.Errorf("it leads to %s", back.URL.Path)
			}
		})
	}
}

func TestARewriteThatCannotBeFollowedIsLeftOut(t *testing.T) {
	h, _ := serving(t, func(h *Handler) { h.Route = "/onebot" })
	r := arrive("GET", "/picture", rewrite.Rewrite{URI: "/onebot/download_file?url=http://a/b.png"})
	if got, want := h.fileURL(r, servedPNG), "http://bot.example/onebot/files/"+servedPNG; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTheURLOfAFileHasTheHostThatTheClientCalled(t *testing.T) {
	h, _ := serving(t, nil)
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}
	for name, tt := range map[string]struct {
		host      string
		tls       bool
		trusted   bool
		forwarded [2]string // X-Forwarded-Proto and -Host
		want      string
	}{
		"a name":                     {host: "bot.example", want: "http://bot.example"},
		"a name with a port":         {host: "bot.example:8080", want: "http://bot.example:8080"},
		"a name with an underscore":  {host: "my_bot", want: "http://my_bot"},
		"an address":                 {host: "192.0.2.1:8080", want: "http://192.0.2.1:8080"},
		"an IPv6 address":            {host: "[2001:db8::1]", want: "http://[2001:db8::1]"},
		"an IPv6 address and a port": {host: "[2001:db8::1]:8443", tls: true, want: "https://[2001:db8::1]:8443"},
		"over TLS":                   {host: "bot.example", tls: true, want: "https://bot.example"},

		"by a stranger's word":                {host: "a.example", forwarded: [2]string{"https", "b.example"}, want: "http://a.example"},
		"by a trusted proxy's word":           {host: "a.example", trusted: true, forwarded: [2]string{"https", "b.example:8443"}, want: "https://b.example:8443"},
		"by the first of two proxies' words":  {host: "a.example", trusted: true, forwarded: [2]string{"https, http", "b.example, c.example"}, want: "https://b.example"},
		"in plain HTTP to a trusted proxy":    {host: "a.example", tls: true, trusted: true, forwarded: [2]string{"HTTP", ""}, want: "http://a.example"},
		"by a trusted proxy that is silent":   {host: "a.example", tls: true, trusted: true, want: "https://a.example"},
		"by a trusted proxy that is mistaken": {host: "a.example", trusted: true, forwarded: [2]string{"gopher", "b/c"}, want: "http://a.example"},

		"nothing":                {host: "", want: "http://127.0.0.1:8080"},
		"a port alone":           {host: ":80", want: "http://127.0.0.1:8080"},
		"with a path":            {host: "a/b", want: "http://127.0.0.1:8080"},
		"with a query":           {host: "a?b", want: "http://127.0.0.1:8080"},
		"with a fragment":        {host: "a#b", want: "http://127.0.0.1:8080"},
		"with a user":            {host: "a@b", want: "http://127.0.0.1:8080"},
		"with a password":        {host: "a:b@c", want: "http://127.0.0.1:8080"},
		"with an escape":         {host: "a%2fb", want: "http://127.0.0.1:8080"},
		"with a space":           {host: "a b", want: "http://127.0.0.1:8080"},
		"with markup":            {host: `"><script>`, want: "http://127.0.0.1:8080"},
		"with two ports":         {host: "a:1:2", want: "http://127.0.0.1:8080"},
		"with a port of letters": {host: "a:b", want: "http://127.0.0.1:8080"},
		"IPv6 in no brackets":    {host: "::1", want: "http://127.0.0.1:8080"},
		"no IPv6 in brackets":    {host: "[a:b]", want: "http://127.0.0.1:8080"},
		"half in brackets":       {host: "[::1", want: "http://127.0.0.1:8080"},
		"a name in brackets":     {host: "[a]", want: "http://127.0.0.1:8080"},
		"a backslash":            {host: `a\b`, want: "http://127.0.0.1:8080"},
		"a line":                 {host: "a\r\nb", want: "http://127.0.0.1:8080"},
	} {
		t.Run(name, func(t *testing.T) {
			r := arrive("POST", "/download_file", rewrite.Rewrite{})
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local))
			r.Host = tt.host
			if tt.tls {
				r.TLS = new(tls.ConnectionState)
			}
			if tt.trusted {
				caddyhttp.SetVar(r.Context(), caddyhttp.TrustedProxyVarKey, true)
			}
			for i, name := range []string{"X-Forwarded-Proto", "X-Forwarded-Host"} {
				if tt.forwarded[i] != "" {
					r.Header.Set(name, tt.forwarded[i])
				}
			}
			if got, want := h.fileURL(r, servedPNG), tt.want+"/files/"+servedPNG; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestAFileHasNoURLWhereNothingTellsTheHost(t *testing.T) {
	h, _ := serving(t, nil)
	r := arrive("POST", "/download_file", rewrite.Rewrite{})
	r.Host = ""
	if got := h.fileURL(r, servedPNG); got != "" {
		t.Errorf("got %s", got)
	}
	socket := context.WithValue(r.Context(), http.LocalAddrContextKey, &net.UnixAddr{Name: "/run/caddy.sock", Net: "unix"})
	if got := h.fileURL(r.WithContext(socket), servedPNG); got != "" {
		t.Errorf("on a socket: got %s", got)
	}
}

// Whatever a client says of itself, the URL is one of ours.
func FuzzFileURL(f *testing.F) {
	f.Add("bot.example:80", "https", "b.example", "/download_file")
	f.Add("a@b", "", "[::1]:80", "/bot%2F/download_file")
	f.Add("[::1", "http,", "x y", "//download_file/")
	h := &Handler{route: ""}
	f.Fuzz(func(t *testing.T, host, proto, forwarded, path string) {
		r, err := http.NewRequest("GET", "http://a/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host, r.URL.Path, r.URL.RawPath = host, path, path
		r.Header.Set("X-Forwarded-Proto", proto)
		r.Header.Set("X-Forwarded-Host", forwarded)
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), nil)
		caddyhttp.SetVar(r.Context(), caddyhttp.TrustedProxyVarKey, true)
		got := h.fileURL(r, servedPNG)
		if got == "" {
			return
		}
		u, err := url.Parse(got)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
			u.Host != host && u.Host != firstOf(forwarded) || u.Path != "/files/"+servedPNG {
			t.Errorf("%q, %q, %q, %q: got %s, %v", host, proto, forwarded, path, got, err)
		}
	})
}
