package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestABadShareIsRefused(t *testing.T) {
	t.Parallel() // it runs a Caddy for each
	for name, lines := range map[string][]string{
		"of nothing":     {"share 0"},
		"below nothing":  {"share -1"},
		"of no size":     {"share x"},
		"of two sizes":   {"share 1MiB 2MiB"},
		"twice":          {"share", "share"},
		"with and after": {"share 1MiB", "share"},
	} {
		t.Run(name, func(t *testing.T) {
			caddyfile := "http://127.0.0.1:1 {\n\tonebot_meta {\n\t\tcache {\n\t\t\t" + strings.Join(lines, "\n\t\t\t") + "\n\t\t}\n\t}\n}\n"
			wantConfigError(t, "validate", caddyfile, 3+len(lines), "share")
		})
	}
}

func TestFilesAreSharedIfTheHandlerSaysSo(t *testing.T) {
	t.Parallel() // it waits for other processes most of the time
	r := startRedis(t)
	binary, err := redisCaddy()
	if err != nil {
		t.Fatal(err)
	}
	storage := func(prefix string) string {
		return fmt.Sprintf("storage redis {\n\t\t\thost %s\n\t\t\tport %s\n\t\t\tkey_prefix %s\n\t\t}", r.host, r.port, prefix)
	}
	handler := func(name, options string) string {
		return "\tonebot_meta {\n\t\troute /" + name + "\n\t\tname " + name + "\n" + options + "\n\t}\n"
	}
	caddyfile := "http://<SITE> {\n" +
		handler("global", copying()) +
		handler("own", storage("another")+"\n"+copying()) +
		handler("alone", caching()) + "}\n"
	var nodes []*instance
	for range 2 {
		nodes = append(nodes, startCaddy(t, caddyfile, program(binary), global("\t"+storage(keyPrefix))))
	}
	o := newOrigin(t)
	for name, test := range map[string]struct {
		requests int
		prefix   string
		stored   bool
	}{
		"global": {1, keyPrefix, true},
		"own":    {1, "another", true},
		"alone":  {2, keyPrefix, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := "/" + name + ".bin"
			url := o.handle(path, edition{body: name, header: []string{"Cache-Control", "max-age=60"}}.offer)
			for _, node := range nodes {
				wantContent(t, node.post(t, "/"+name+"/download_file", params{"url": url}.String()).file(t), name)
			}
			if n := len(o.asked(path)); n != test.requests {
				t.Errorf("the origin had %d requests, want %d", n, test.requests)
			}
			if keys := r.keys(t, test.prefix+"/onebot_meta/"+name); (len(keys) > 0) != test.stored {
				t.Errorf("Redis has %q", keys)
			}
		})
	}
}

func TestTheStorageIsToldNoSecret(t *testing.T) {
	t.Parallel() // it waits for other processes most of the time
	r := startRedis(t)
	const token = "token-that-is-secret"
	c := onRedis(t, 2, r, "access_token "+token+"\n"+copying())
	o := newOrigin(t)
	answer := edition{body: "the content", etag: `"v1"`, header: []string{"Cache-Control", "max-age=60", "Set-Cookie", "session=cookie-that-is-secret"}}
	target := o.handle("/hidden-directory/target.png", answer.offer)
	plain := o.handle("/hidden-directory/plain.png", answer.offer)
	renewed := o.handle("/hidden-directory/renewed.png", func(w http.ResponseWriter, r *http.Request) {
		edition{body: answer.body, etag: answer.etag, header: answer.header[2:]}.offer(w, r)
	})
	moved := o.handle("/hidden-directory/moved", redirect(302, target+"?signature=signature-that-is-secret"))
	for _, url := range []string{plain, renewed, moved} {
		address := strings.Replace(url, "://", "://user-that-is-secret:password-that-is-secret@", 1) + "?key=key-that-is-secret"
		call := params{"url": address, "headers": []string{"X-Key: header-that-is-secret", "Referer: " + plain + "?referer-that-is-secret"}}
		for range 2 {
			for _, node := range c.nodes {
				file := node.post(t, "/download_file", call.String(), "Authorization", "Bearer "+token).file(t)
				wantContent(t, file, answer.body)
			}
		}
	}
	for _, node := range c.nodes {
		node.stop() // after which nothing more is stored
	}
	found := 0
	for _, key := range r.do(t, "KEYS", "*").([]any) {
		text := key.(string) + "\n"
		switch r.do(t, "TYPE", key.(string)) {
		case "string":
			value := r.do(t, "GET", key.(string)).(string)
			text += value
			var wrapped wrapped
			if json.Unmarshal([]byte(value), &wrapped) == nil {
				text += "\n" + string(wrapped.Value)
			}
		case "zset":
			text += fmt.Sprint(r.do(t, "ZRANGE", key.(string), "0", "-1"))
		}
		if strings.Contains(text, answer.body) {
			found++
		}
		for _, secret := range []string{"is-secret", "hidden-directory", "moved", "is%2Dsecret", token} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in\n%s", secret, text)
			}
		}
	}
	if found < 3 { // or the search is not worth much
		t.Errorf("only %d files are in Redis", found)
	}
}
