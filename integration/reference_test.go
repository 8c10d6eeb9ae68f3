package integration

import (
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// The address that the examples of the API page call, and so
// Caddyfile.example has.
const exampleAddr, exampleAdmin = "127.0.0.1:5700", "localhost:2019"

// startExample runs Caddyfile.example as it is.
func startExample(t testing.TB) *instance {
	t.Helper()
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	return startCaddy(t, string(text), verbatim(exampleAddr, exampleAdmin))
}

// startOpenExample runs it with the one change that lets its downloads reach an
// origin on this machine.
func startOpenExample(t testing.TB) *instance {
	t.Helper()
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	open := strings.Replace(string(text), "\n\tonebot_meta\n", "\n\tonebot_meta {\n\t\tdownload {\n\t\t\tallow_private 127.0.0.1\n\t\t}\n\t}\n", 1)
	if open == string(text) {
		t.Fatal("the example has no plain onebot_meta")
	}
	return startCaddy(t, open, verbatim(exampleAddr, exampleAdmin))
}

// apiPage are the actions with an example on the API page, and what its js
// prints. testdata/meta-api has the examples word for word.
var apiPage = map[string]func(t testing.TB, c *instance, printed string){
	"get_status": func(t testing.TB, c *instance, printed string) { wantPrinted(t, printed, "true") },
	"get_version_info": func(t testing.TB, c *instance, printed string) {
		var data struct{ Version string }
		if err := json.Unmarshal(c.post(t, "/get_version_info", "{}").wantOK(t).data, &data); err != nil {
			t.Fatal(err)
		}
		wantPrinted(t, printed, data.Version)
	},
	"set_restart":         func(t testing.TB, c *instance, printed string) { wantPrinted(t, printed, "ok") },
	"clean_cache":         func(t testing.TB, c *instance, printed string) { wantPrinted(t, printed, "ok") },
	"reload_event_filter": func(t testing.TB, c *instance, printed string) { wantPrinted(t, printed, "ok") },
	"get_word_slices":     func(t testing.TB, c *instance, printed string) { wantPrinted(t, printed, "1404") },
}

func wantPrinted(t testing.TB, printed, want string) {
	t.Helper()
	if printed != want+"\n" {
		t.Errorf("it prints %q, want %q", printed, want)
	}
}

// pageExample returns an example of the API page.
func pageExample(t testing.TB, action, language string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "meta-api", action+"."+language))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// runCurl runs an example in sh and returns the answer.
func runCurl(t testing.TB, c *instance, script string) reply {
	t.Helper()
	for _, program := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not installed")
		}
	}
	// -i, which the examples do not have, shows the head of the answer
	cmd := exec.Command("sh", "-c", strings.Replace(script, "curl ", "curl -sS -i ", 1))
	cmd.Env = append(os.Environ(), "HOME="+c.home, "no_proxy=*")
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s\n%s", cmd, err, output)
	}
	r, err := readReply(strings.NewReader(string(output)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// runNode runs an example as a module of node and returns what it prints.
func runNode(t testing.TB, c *instance, script string) string {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is not installed")
	}
	cmd := exec.Command("node", "--input-type=module")
	cmd.Env = append(os.Environ(), "HOME="+c.home, "NODE_OPTIONS=", "no_proxy=*", "NO_COLOR=1")
	cmd.Stdin = strings.NewReader(script)
	var errors strings.Builder
	cmd.Stderr = &errors
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, errors.String())
	}
	return string(output)
}

var curlPart = regexp.MustCompile(`(?:(-X POST|-H|-d) )?'([^']*)'`)

// likeCurl makes the request of a curl example without curl.
func likeCurl(t testing.TB, c *instance, script string) reply {
	t.Helper()
	var to *url.URL
	var body string
	var header []string
	for _, part := range curlPart.FindAllStringSubmatch(script, -1) {
		switch flag, value := part[1], part[2]; flag {
		case "-H":
			name, value, _ := strings.Cut(value, ": ")
			header = append(header, name, value)
		case "-d":
			body = value
		default:
			var err error
			if to, err = url.Parse(value); err != nil {
				t.Fatal(err)
			}
		}
	}
	if to == nil || to.Host != c.addr || body == "" || len(header) != 2 {
		t.Fatalf("cannot read the example %s", script)
	}
	return c.call(t, "POST", to.Path, body, header...)
}

func TestTheExamplesOfTheAPIPageWorkWithTheExampleCaddyfile(t *testing.T) {
	c := startExample(t)
	for action, check := range apiPage {
		want := calls[action]
		t.Run(action+" by curl", func(t *testing.T) {
			runCurl(t, c, pageExample(t, action, "sh")).want(t, 200, want.status, want.code)
		})
		t.Run(action+" by js", func(t *testing.T) {
			check(t, c, runNode(t, c, pageExample(t, action, "js")))
		})
		t.Run(action+" by Go", func(t *testing.T) {
			likeCurl(t, c, pageExample(t, action, "sh")).want(t, 200, want.status, want.code)
		})
	}
	t.Run("by the name localhost", func(t *testing.T) {
		local := client{c.client.Client, "http://localhost:5700"}
		if r, err := local.try("POST", "/get_status", "{}", "Content-Type", "application/json"); err != nil || r.status != "ok" {
			t.Errorf("%v %s", err, r.body)
		}
	})
	if runtime.GOOS == "linux" { // which has all of 127.0.0.0/8
		t.Run("and on that address only", func(t *testing.T) {
			second, err := net.Listen("tcp", "127.0.0.2:"+c.port())
			if err != nil {
				t.Fatal(err)
			}
			_ = second.Close()
		})
	}
}

// The page downloads https://example.com/a.png. No test may leave this machine,
// so the examples run with that URL, and nothing else, replaced by one of an
// origin on loopback.
func TestTheDownloadExamplesOfTheAPIPageWorkWithAnotherURL(t *testing.T) {
	const pageURL = "https://example.com/a.png"
	local := func(t *testing.T, script, url string) string {
		t.Helper()
		if strings.Count(script, pageURL) != 1 {
			t.Fatalf("the example does not have %s once:\n%s", pageURL, script)
		}
		return strings.Replace(script, pageURL, url, 1)
	}
	t.Run("which Caddyfile.example as it is refuses", func(t *testing.T) {
		c := startExample(t)
		o := newOrigin(t)
		url := o.handle("/a.png", content("a picture"))
		for _, call := range []func(testing.TB, *instance, string) reply{runCurl, likeCurl} {
			r := call(t, c, local(t, pageExample(t, "download_file", "sh"), url)).wantFailed(t)
			if !strings.Contains(r.message, "destination refused") {
				t.Errorf("message is %q", r.message)
			}
		}
		if n := o.conns.Load(); n != 0 {
			t.Errorf("%d connections were made", n)
		}
	})
	t.Run("which an open one fetches", func(t *testing.T) {
		c := startOpenExample(t)
		o := newOrigin(t)
		url := o.handle("/a.png", content("a picture"))
		check := func(t *testing.T, file string) {
			t.Helper()
			wantContent(t, file, "a picture")
			wantWithin(t, file, c.cacheDir("onebot"))
			if agent := o.last(t).Header["User-Agent"]; len(agent) != 1 || agent[0] != "bot" {
				t.Errorf("User-Agent is %q", agent)
			}
		}
		t.Run("by curl", func(t *testing.T) {
			check(t, runCurl(t, c, local(t, pageExample(t, "download_file", "sh"), url)).file(t))
		})
		t.Run("by js", func(t *testing.T) {
			check(t, strings.TrimSuffix(runNode(t, c, local(t, pageExample(t, "download_file", "js"), url)), "\n"))
		})
		t.Run("by Go", func(t *testing.T) {
			check(t, likeCurl(t, c, local(t, pageExample(t, "download_file", "sh"), url)).file(t))
		})
	})
}

func TestTheExampleCaddyfileKeepsSecretsOutOfItsAccessLog(t *testing.T) {
	c := startExample(t)
	secret := "5ecret"
	q := query(map[string]string{
		"access_token": secret, "url": "ftp://u:" + secret + "@127.0.0.1/?key=" + secret, "headers": "X-Key: " + secret,
	})
	c.call(t, http.MethodGet, "/download_file?"+q, "", "Authorization", "Bearer "+secret, "Cookie", "key="+secret).wantFailed(t)
	c.awaitLog("handled request")
	log := c.logs.String()
	if !strings.Contains(log, "/download_file?") || !strings.Contains(log, "REDACTED") {
		t.Errorf("the call is not in the access log:\n%s", log)
	}
	if strings.Contains(log, secret) {
		t.Errorf("the log has a secret:\n%s", log)
	}
}
