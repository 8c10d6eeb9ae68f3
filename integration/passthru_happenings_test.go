package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// happening is something that happens to it.
type happening struct {
	do     func(x *exercise) error
	counts stat

	// word is what it says of the bot's state, in JSON. What says true may
	// happen together with others, and what says false may not: nobody would
	// know which came last.
	word string
}

var (
	settled = stat{"PacketReceived": 1, "PacketSent": 1}
	lost    = stat{"PacketReceived": 1, "PacketLost": 1, "LostTimes": 1}
)

// also returns counts with one more.
func also(counts stat, name string) stat {
	more := stat{name: 1}
	for name, n := range counts {
		more[name] += n
	}
	return more
}

// posted is what posts a body, and wants a status.
func posted(path, body string, status int, counts stat, header ...string) happening {
	return happening{counts: counts, do: func(x *exercise) error {
		got, err := x.post(context.Background(), path, body, header...)
		if err == nil && got != status {
			err = fmt.Errorf("POST %s %.100s is answered by %d", path, body, got)
		}
		return err
	}}
}

func (x *exercise) post(ctx context.Context, path, body string, header ...string) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, "POST", x.caddy.client.base+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header = headerOf(append([]string{"Authorization", "Bearer secret", "Content-Type", "application/json"}, header...)...)
	if len(header) > 0 && header[0] == "Authorization" {
		req.Header["Authorization"] = header[1:2]
	}
	resp, err := x.caddy.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// happenings is everything that may happen.
func happenings() map[string]happening {
	message := message("hello")
	all := map[string]happening{
		"a call of ours":                   posted("/bot/set_restart", "{}", 200, settled),
		"a call of ours in an envelope":    posted("/bot/", `{"action":"get_version_info_rate_limited"}`, 200, settled),
		"a call of ours that runs later":   posted("/bot/set_restart_async", "{}", 200, settled),
		"a call of ours that fails":        posted("/bot/download_file", `{"url":"ftp://"}`, 200, settled),
		"a call of ours that is no JSON":   posted("/bot/set_restart", "{", 400, settled),
		"a call of ours that is too large": posted("/bot/set_restart", `{"a":"`+filler(70_000)+`"}`, 413, settled),
		"a status":                         posted("/bot/get_status", "{}", 200, settled),
		"the supported actions":            posted("/bot/get_supported_actions", "{}", 200, settled),
		"another call":                     posted("/bot/get_login_info", "{}", 200, settled),
		"another call in an envelope":      posted("/bot", `{"action":"get_login_info"}`, 200, settled),
		"another call that is no JSON":     posted("/bot/get_login_info", "{{{", 200, settled),
		"another call that is not found":   posted("/bot/no_such_action", "{}", 404, settled),
		"another call that is large":       posted("/bot/upload_file", `{"a":"`+filler(70_000)+`"}`, 200, settled),
		"a like":                           posted("/bot/send_like", "{}", 200, settled),
		"no token":                         posted("/bot/send_msg", "{}", 401, nil, "Authorization", ""),
		"a wrong token":                    posted("/bot/", message, 403, nil, "Authorization", "Bearer wrong"),
		"what is outside of the route":     posted("/send_msg", message, 204, nil),
		"a message":                        posted("/bot/", message, 204, also(settled, "MessageReceived")),
		"a message without an end":         posted("/bot/x", strings.TrimSuffix(message, "}"), 200, settled),
		"a notice":                         posted("/bot/", notice("group_recall"), 204, settled),
		"a request":                        posted("/bot/", event("request", `"request_type":"friend"`), 204, settled),
		"a message that is refused":        posted("/bot/refused", message, 500, also(settled, "MessageReceived")),
		"a message gzipped on its way out": posted("/bot/send_gzip_msg", "{}", 200, also(settled, "MessageSent")),
		"a message that nobody understood": posted("/bot/send_html_msg", "{}", 200, settled),
		"a backend that hangs up":          posted("/bot/hang_up", "{}", 502, lost),
		"a backend that breaks off":        {do: (*exercise).brokenOff, counts: lost},
		"a caller that leaves":             {do: (*exercise).leave, counts: lost},
		"a caller that leaves halfway":     {do: (*exercise).leaveHalfway, counts: lost},
		"a caller that sends half":         {do: (*exercise).sendHalf, counts: lost},
	}
	for _, action := range []string{"send_msg", "send_private_msg", "send_group_forward_msg"} {
		for _, suffix := range []string{"", "_async", "_rate_limited", "_async_rate_limited"} {
			for _, as := range []string{"", "ok", "async", "failed"} {
				counts := also(settled, "MessageSent")
				if as == "failed" {
					counts = settled
				}
				p := params{"as": as}
				all[fmt.Sprintf("%s%s, answer %q", action, suffix, as)] = posted("/bot/"+action+suffix, p.String(), 200, counts)
				all[fmt.Sprintf("%s%s in an envelope, answer %q", action, suffix, as)] =
					posted("/bot/", params{"params": p, "action": action + suffix, "echo": 1}.String(), 200, counts)
			}
		}
	}
	for event, word := range map[string]string{
		heartbeat("true"): "true", heartbeat("false"): "false", heartbeat("null"): "false", lifecycle("connect"): "true",
		lifecycle("enable"): "true", lifecycle("disable"): "false", notice("bot_offline"): "false",
	} {
		s := posted("/bot/", event, 204, settled)
		s.word = word
		all["the word "+event] = s
	}
	return all
}

// drawn draws names of what may happen. There are many ways to send a message,
// so that without kinds there would be little else.
func drawn(all map[string]happening) *rapid.Generator[string] {
	var sends, words, losses, rest []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		switch s := all[name]; {
		case s.word != "":
			words = append(words, name)
		case s.counts["PacketLost"] > 0:
			losses = append(losses, name)
		case s.counts["MessageSent"] > 0 || strings.HasPrefix(name, "send_"):
			sends = append(sends, name)
		default:
			rest = append(rest, name)
		}
	}
	return rapid.OneOf(rapid.SampledFrom(sends), rapid.SampledFrom(words), rapid.SampledFrom(losses), rapid.SampledFrom(rest), rapid.SampledFrom(rest))
}

// brokenOff is a call whose answer breaks off.
func (x *exercise) brokenOff() error {
	if _, err := x.post(context.Background(), "/bot/send_broken_msg", "{}"); err == nil {
		return errors.New("an answer that broke off is whole")
	}
	return nil
}

// leave is a call whose caller leaves before the backend has answered.
func (x *exercise) leave() error {
	return x.leaveAfter(func(w http.ResponseWriter) {})
}

// leaveHalfway is a call whose caller leaves when half of the answer is there.
func (x *exercise) leaveHalfway() error {
	return x.leaveAfter(func(w http.ResponseWriter) {
		_, _ = io.WriteString(w, `{"status":"ok"`)
		_ = http.NewResponseController(w).Flush()
	})
}

func (x *exercise) leaveAfter(begin func(http.ResponseWriter)) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	arrived := make(chan struct{})
	path := fmt.Sprintf("/bot/leave_%d", x.unique.Add(1))
	x.backend.handle(path, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		begin(w)
		close(arrived)
		x.backend.never(w, r)
	})
	result := make(chan error, 1)
	go func() {
		_, err := x.post(ctx, path, "{}")
		result <- err
	}()
	select {
	case <-arrived:
	case err := <-result:
		return fmt.Errorf("a call ended before it was left: %v", err)
	}
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		return fmt.Errorf("a call that was left ended with %w", err)
	}
	return nil
}

// sendHalf is a call whose caller leaves before it has sent all of it.
func (x *exercise) sendHalf() error {
	conn, err := net.Dial("tcp", x.caddy.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /bot/send_msg HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: secret\r\nContent-Length: 100\r\n\r\n%s", `{"as":"ok"`)
	return err
}
