package integration

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// watching is a `caddy onebot-meta downloads --watch` whose output is a pipe.
type watching struct {
	t      *testing.T
	cmd    *exec.Cmd
	lines  chan string // closed at its end
	stderr bytes.Buffer
}

func startWatch(t *testing.T, home, admin string) *watching {
	t.Helper()
	w := &watching{t: t, cmd: caddyCommand(t, home, "onebot-meta", "downloads", "--watch", "--address", admin), lines: make(chan string, 10_000)}
	w.cmd.Stderr = &w.stderr
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(w.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			w.lines <- lines.Text()
		}
	}()
	return w
}

// want waits for a line that ends with some text.
func (w *watching) want(end string) {
	w.t.Helper()
	for {
		line := receive(w.t, w.lines, "a line that ends with "+end)
		if strings.HasSuffix(line, end) {
			return
		}
		if line == "" {
			w.t.Fatalf("it ended without a line that ends with %s", end)
		}
	}
}

// interrupt does what Ctrl-C does.
func (w *watching) interrupt() {
	w.t.Helper()
	if err := w.cmd.Process.Signal(os.Interrupt); err != nil {
		w.t.Error(err)
	}
}

// wantEnd waits for its end, and checks how it was.
func (w *watching) wantEnd(code int, says string) {
	w.t.Helper()
	for end := time.After(patience); ; {
		select {
		case line, more := <-w.lines:
			if more {
				w.t.Logf("it goes on with %s", line)
				continue
			}
		case <-end:
			w.t.Fatal("it does not end")
		}
		break
	}
	_ = w.cmd.Wait()
	if got := w.cmd.ProcessState.ExitCode(); got != code || !strings.Contains(w.stderr.String(), says) {
		w.t.Errorf("exit code %d, want %d and %q in\n%s", got, code, says, w.stderr.String())
	}
}

func TestAWatchInAPipeIsALineAChange(t *testing.T) {
	t.Parallel()
	bot := "name mybot\n" + download("stall_timeout 10m")
	c := startBot(t, bot)
	o := newOrigin(t)
	w := startWatch(t, c.home, c.admin)
	w.want("no downloads are under way")
	url := o.handle("/video.mp4", o.halfway(2<<20, true))
	o.start(t, c, "", url)
	w.want("#1 " + url + " 1.0 MiB / 2.0 MiB, 0 B/s, ? left")
	if output, ok := c.reload("http://<SITE> {\nonebot_meta {\nheartbeat 1m\n" + bot + "\n}\n}\n"); !ok {
		t.Fatal(output)
	}
	o.release()
	w.want("#1 " + url + " gone")
	w.interrupt()
	w.wantEnd(0, "")
}

func TestAWatchEndsWhenCaddyDoes(t *testing.T) {
	t.Parallel()
	c := startBot(t, "name mybot")
	w := startWatch(t, c.home, c.admin)
	w.want("no downloads are under way")
	c.stop()
	w.wantEnd(1, "asking Caddy's admin API at "+c.admin)
}

// terminal is a shell in a terminal of its own.
type terminal struct {
	t      *testing.T
	socket string
	env    []string
}

func newTerminal(t *testing.T, size []string, env ...string) *terminal {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("tmux is not installed")
	}
	term := &terminal{t: t, socket: filepath.Join(t.TempDir(), "tmux"), env: append(env, "SHELL=/bin/sh", "PS1=$ ", "ENV=", "TMUX=")}
	term.tmux(append([]string{"new-session", "-d"}, append(size, "sh")...)...)
	t.Cleanup(func() { term.tmux("kill-server") })
	term.await("$")
	return term
}

// tmux runs a command of tmux and returns what it prints.
func (term *terminal) tmux(args ...string) string {
	term.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "tmux", append([]string{"-S", term.socket, "-f", os.DevNull}, args...)...)
	cmd.Env = term.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		term.t.Fatalf("tmux %s: %v\n%s", args[0], err, out)
	}
	return string(out)
}

// screen returns what is to be seen.
func (term *terminal) screen() string {
	term.t.Helper()
	return strings.TrimRight(term.tmux("capture-pane", "-p"), "\n")
}

// await returns when the screen is as wanted.
func (term *terminal) await(want string) {
	term.t.Helper()
	term.awaitThat("\n"+want, func(screen string) bool { return screen == want })
}

func (term *terminal) awaitThat(what string, done func(screen string) bool) {
	term.t.Helper()
	var last string
	defer func() {
		if term.t.Failed() {
			term.t.Logf("the screen is\n%s", last)
		}
	}()
	eventually(term.t, "a screen that is "+what, func() bool {
		last = term.screen()
		return done(last)
	})
}

// numbers are what differs from one moment to the next: amounts, rates, times
// and the bars.
var numbers = regexp.MustCompile(`[0-9.]+ ([KM]iB|s\b)|[0-9]+s|\[[=>-]* *\]`)

// masked returns a screen without what differs from one moment to the next.
func masked(screen string) string {
	return regexp.MustCompile(` +`).ReplaceAllString(numbers.ReplaceAllString(screen, "#"), " ")
}

// drip answers with a file, a piece every tenth of a second, and with the rest
// when the origin is released. Its length is known or not.
func (o *origin) drip(size, piece int, known bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if known {
			w.Header().Set("Content-Length", strconv.Itoa(size))
		}
		ticks := time.NewTicker(time.Second / 10)
		defer ticks.Stop()
		for size > piece {
			_, _ = io.WriteString(w, filler(piece))
			_ = http.NewResponseController(w).Flush()
			size -= piece
			select {
			case <-ticks.C:
			case <-o.released:
				piece = size
			case <-r.Context().Done():
				return
			}
		}
		_, _ = io.WriteString(w, filler(size))
	}
}

func TestAWatchInATerminalIsBars(t *testing.T) {
	t.Parallel()
	c := startCaddy(t, "http://<SITE> {\nonebot_meta {\nname mybot\nroute /onebot\n"+download("max_concurrent 2", "stall_timeout 10m")+"\n}\n}\n")
	env := append(caddyCommand(t, c.home).Env, "CADDY_ADMIN="+c.admin, "PATH="+filepath.Dir(caddyBinary)+":"+os.Getenv("PATH"), "LC_ALL=C.UTF-8")
	term := newTerminal(t, []string{"-x", "100", "-y", "12"}, env...)
	const command = "caddy onebot-meta downloads --watch"
	term.tmux("send-keys", command, "Enter")
	term.await("$ " + command + "\nno downloads are under way")
	// downloads starts two downloads, and a third that has to wait for its turn
	downloads := func(o *origin, video, voice http.HandlerFunc) {
		o.start(t, c, "/onebot", o.handle("/video.mp4", video))
		o.start(t, c, "/onebot", o.handle("/voice.silk", voice))
		c.post(t, "/onebot/download_file_async", params{"url": o.handle("/album.zip", content("all"))}.String()).wantAsync(t)
	}

	lively := newOrigin(t)
	downloads(lively, lively.drip(48<<20, 256<<10, true), lively.drip(4<<20, 8<<10, false))
	term.awaitThat("lively", func(screen string) bool {
		return strings.Count(screen, "iB/s") == 3 && strings.Contains(screen, "s left") && strings.Contains(screen, "waiting") && strings.Contains(screen, "[=")
	})
	// an origin has a name, and it is as long as the address that it has here
	awaitGolden(t, "watch.txt", masked, func() string {
		return strings.ReplaceAll(term.screen(), lively.url, "http://cdn.example.org") + "\n"
	})
	lively.release()
	term.await("$ " + command + "\nno downloads are under way")

	o := newOrigin(t)
	downloads(o, o.halfway(16<<20, true), o.halfway(600<<10, false))
	stalled := strings.NewReplacer("<ORIGIN>", o.url).Replace(
		`3 downloads are under way, 0 B/s
<ORIGIN>/video.mp4  [===========>           ]   8.0 MiB / 16 MiB      0 B/s    ? left
<ORIGIN>/voice.silk                                  300 KiB / ?      0 B/s    ? left
<ORIGIN>/album.zip  waiting for its turn`)
	term.await("$ " + command + "\n" + stalled)

	// what was wrapped or cut off meanwhile leaves nothing behind
	term.tmux("resize-window", "-x", "60", "-y", "9")
	term.awaitThat("narrow", func(screen string) bool {
		return strings.HasPrefix(screen, "3 downloads") && strings.Count(screen, "\n") == 3 && strings.Count(screen, "http://") == 3
	})
	term.tmux("resize-window", "-x", "100", "-y", "12")
	term.await(stalled)

	o.release()
	term.await("no downloads are under way")
	term.tmux("send-keys", "C-c")
	term.await("no downloads are under way\n$")
	term.tmux("send-keys", "echo it ended with $?", "Enter")
	term.await("no downloads are under way\n$ echo it ended with $?\nit ended with 0\n$")
}
