package integration

import (
	"net"
	"strings"
	"testing"
)

// loopbackURLs are ways to write an address of this machine. None of them needs
// to be looked up anywhere.
func loopbackURLs(port string) map[string]string {
	urls := make(map[string]string)
	for name, host := range map[string]string{
		"IPv4":                         "127.0.0.1",
		"another address of the net":   "127.8.9.10",
		"a name":                       "localhost",
		"IPv6":                         "[::1]",
		"IPv6 in full":                 "[0:0:0:0:0:0:0:1]",
		"IPv4 in IPv6":                 "[::ffff:127.0.0.1]",
		"IPv4 in IPv6, in hexadecimal": "[::ffff:7f00:1]",
		"one number":                   "2130706433",
		"a hexadecimal number":         "0x7f000001",
		"two parts":                    "127.1",
		"octal":                        "0177.0.0.1",
	} {
		urls[name] = "http://" + host + ":" + port + "/a.png"
	}
	return urls
}

func TestThisMachineIsRefusedByDefaultHoweverItIsWritten(t *testing.T) {
	c := startBot(t, "")
	o := newOrigin(t)
	o.handle("/a.png", content("a picture"))
	o.handle("/marker", content("marker"))
	// the same port on IPv6, so that a wrong connection would succeed
	var conns6 chan net.Conn
	if listener, err := net.Listen("tcp6", "[::1]:"+o.port); err == nil {
		t.Cleanup(func() { _ = listener.Close() })
		conns6 = make(chan net.Conn, 100)
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					close(conns6)
					return
				}
				conns6 <- conn
				_ = conn.Close()
			}
		}()
	}
	for name, url := range loopbackURLs(o.port) {
		t.Run(name, func(t *testing.T) {
			for _, url := range []string{url, strings.Replace(url, "http:", "https:", 1), strings.Replace(url, "//", "//user:passw0rd@", 1)} {
				r := c.post(t, "/download_file", params{"url": url}.String()).wantFailed(t)
				if !strings.Contains(r.message, "refused") && !strings.Contains(r.message, "not a valid URL") {
					t.Errorf("%s: message is %q", url, r.message)
				}
			}
		})
	}
	t.Run("and nobody was connected to", func(t *testing.T) {
		// connections are accepted in the order they are made, so if this
		// is the first one there was none before
		own := newClient(o.url)
		defer own.CloseIdleConnections()
		if status, body := own.fetch(t, "GET", "/marker", ""); status != 200 || body != "marker" {
			t.Fatalf("got %d %s", status, body)
		}
		if n := o.conns.Load(); n != 1 {
			t.Errorf("there were %d connections to 127.0.0.1", n-1)
		}
		if conns6 == nil {
			return // this machine has no IPv6
		}
		conn, err := net.Dial("tcp6", "[::1]:"+o.port)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if first := receive(t, conns6, "a connection"); first.RemoteAddr().String() != conn.LocalAddr().String() {
			t.Error("there was a connection to ::1")
		}
	})
	wantNothingKept(t, c.cacheDir("onebot"))
}

func TestARedirectGetsNoFurtherThanAURL(t *testing.T) {
	c := startBot(t, "download {\n allow_private localhost\n}")
	o := newOrigin(t)
	o.handle("/a.png", content("a picture"))
	start := "http://localhost:" + o.port + "/moved"

	t.Run("to the name that is open it does", func(t *testing.T) {
		o.handle("/moved", redirect(302, "http://localhost:"+o.port+"/a.png"))
		wantContent(t, c.fetch(t, start), "a picture")
	})
	for name, to := range loopbackURLs(o.port) {
		if strings.Contains(to, "localhost") {
			continue
		}
		t.Run("to "+name+" it does not", func(t *testing.T) {
			o.handle("/moved", redirect(302, to))
			before := o.count()
			r := c.post(t, "/download_file", params{"url": start}.String()).wantFailed(t)
			if !strings.Contains(r.message, "refused") && !strings.Contains(r.message, "cannot be fetched") {
				t.Errorf("message is %q", r.message)
			}
			if n := o.count() - before; n != 1 || o.last(t).URL.Path != "/moved" {
				t.Errorf("the origin had %d requests, the last for %s", n, o.last(t).URL)
			}
		})
	}
	t.Run("nor over another redirect", func(t *testing.T) {
		o.handle("/moved", redirect(302, "/again"))
		o.handle("/again", redirect(302, "http://127.0.0.1:"+o.port+"/a.png"))
		c.post(t, "/download_file", params{"url": start}.String()).wantFailed(t)
	})
	t.Run("nor does a URL with the address of the name", func(t *testing.T) {
		c.post(t, "/download_file", params{"url": o.url + "/a.png"}.String()).wantFailed(t)
	})
}

func TestAllowPrivateOpensWhatItLists(t *testing.T) {
	for allowed, hosts := range map[string]map[string]bool{ // whether each is open
		"allow_private 127.0.0.1":            {"127.0.0.1": true, "localhost": true, "127.0.0.2": false, "[::ffff:127.0.0.1]": true},
		"allow_private 127.0.0.0/8":          {"127.0.0.1": true, "127.1": false},
		"allow_private 127.0.0.2 10.0.0.0/8": {"127.0.0.1": false, "localhost": false},
		"allow_private ::1":                  {"127.0.0.1": false, "[::ffff:127.0.0.1]": false},
		"allow_private":                      {"127.0.0.1": true, "localhost": true, "2130706433": false},
		"allow_private localhost":            {"127.0.0.1": false, "localhost": true},
		"allow_private LOCALHOST.":           {"127.0.0.1": false, "localhost": true},
		"allow_private nas.lan":              {"127.0.0.1": false, "localhost": false},
	} {
		t.Run(allowed, func(t *testing.T) {
			c := startBot(t, "download {\n"+allowed+"\n}")
			o := newOrigin(t)
			o.handle("/a.png", content("a picture"))
			for host, open := range hosts {
				r := c.post(t, "/download_file", params{"url": "http://" + host + ":" + o.port + "/a.png"}.String())
				if (r.status == "ok") != open {
					t.Errorf("%s: open is %t, want %t: %s", host, !open, open, r.body)
				}
			}
		})
	}
}
