//go:build linux

package integration

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

// aria2Daemon is an aria2c that downloads what it is told to over JSON-RPC, set
// up to be as fast as it can be.
type aria2Daemon struct {
	b   *testing.B
	dir string // of the files
	pid int
	rpc *websocket.Conn
}

func startAria2(b *testing.B, apart func(func())) *aria2Daemon {
	b.Helper()
	a := &aria2Daemon{b: b, dir: keptDir(b)}
	addr := freeAddr(b)
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command("aria2c", "--enable-rpc", "--rpc-listen-port="+port, "--no-conf", "--quiet",
		"--dir="+a.dir, "--max-concurrent-downloads=32", "--split=1", "--max-connection-per-server=1",
		"--file-allocation=none", "--auto-save-interval=0", "--summary-interval=0", "--download-result=hide")
	var err error
	apart(func() { err = cmd.Start() })
	if err != nil {
		b.Fatal(err)
	}
	a.pid = cmd.Process.Pid
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(patience); ; { // it tells nobody when it listens
		if a.rpc, err = websocket.Dial("ws://"+addr+"/jsonrpc", "", "http://"+addr); err == nil {
			break
		}
		if time.Now().After(deadline) {
			b.Fatalf("aria2c does not listen: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.Cleanup(func() { _ = a.rpc.Close() })
	_ = a.rpc.SetDeadline(time.Now().Add(10 * patience))
	return a
}

// rpcMessage is an answer or a notification.
type rpcMessage struct {
	ID     string
	Method string
	Error  any
}

// download has every URL downloaded and returns when all are. It takes one
// message to ask for them, and aria2c tells when each is there.
func (a *aria2Daemon) download(urls []string) {
	a.b.Helper()
	type call struct {
		Method string `json:"methodName"`
		Params []any  `json:"params"`
	}
	calls := make([]call, len(urls))
	for i, url := range urls {
		calls[i] = call{"aria2.addUri", []any{[]string{url}}}
	}
	a.send("system.multicall", calls)
	for complete := 0; complete < len(urls); {
		switch message := a.receive(); {
		case message.Error != nil || strings.HasSuffix(message.Method, "Error"):
			a.b.Fatalf("aria2c: %+v", message)
		case message.Method == "aria2.onDownloadComplete":
			complete++
		}
	}
}

// measure downloads and returns what that cost.
func (a *aria2Daemon) measure(urls []string) cost {
	a.b.Helper()
	start, before := time.Now(), cpuTime(a.b, a.pid)
	a.download(urls)
	c := cost{time.Since(start), cpuTime(a.b, a.pid) - before}
	a.forget()
	return c
}

// atOnce sets how many files the daemon downloads at once, at most.
func (a *aria2Daemon) atOnce(n int) {
	a.b.Helper()
	a.send("aria2.changeGlobalOption", map[string]string{"max-concurrent-downloads": fmt.Sprint(n)})
	a.answered()
}

// forget makes the daemon forget the downloads that are over.
func (a *aria2Daemon) forget() {
	a.b.Helper()
	a.send("aria2.purgeDownloadResult")
	a.answered()
}

// answered returns when the last message is.
func (a *aria2Daemon) answered() {
	a.b.Helper()
	for {
		if message := a.receive(); message.Error != nil {
			a.b.Fatalf("aria2c: %+v", message)
		} else if message.ID != "" {
			return
		}
	}
}

func (a *aria2Daemon) send(method string, params ...any) {
	a.b.Helper()
	if params == nil {
		params = []any{}
	}
	request := map[string]any{"jsonrpc": "2.0", "id": "1", "method": method, "params": params}
	if err := websocket.JSON.Send(a.rpc, request); err != nil {
		a.b.Fatalf("aria2c: %v", err)
	}
}

func (a *aria2Daemon) receive() (message rpcMessage) {
	a.b.Helper()
	if err := websocket.JSON.Receive(a.rpc, &message); err != nil {
		a.b.Fatalf("aria2c: %v", err)
	}
	return message
}

// curlConfig returns what makes curl download URLs into files.
func curlConfig(urls, files []string) string {
	var config strings.Builder
	for i, url := range urls {
		fmt.Fprintf(&config, "url = %q\noutput = %q\n", url, files[i])
	}
	return config.String()
}
