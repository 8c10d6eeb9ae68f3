//go:build linux

package integration

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// plainEnv makes this program a plain downloader: its value says how, the
// arguments are a URL and a file.
const plainEnv = "ONEBOT_META_BENCH_PLAIN"

func init() {
	how := os.Getenv(plainEnv)
	if how == "" {
		return
	}
	start := time.Now()
	if err := plainDownload(how, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	fmt.Println(time.Since(start).Nanoseconds(), used.Utime.Nano()+used.Stime.Nano())
	os.Exit(0)
}

// plainDownload is what a download costs at least: a connection, a request, and
// a body that goes into a file.
func plainDownload(how, from, to string) error {
	u, err := url.Parse(from)
	if err != nil {
		return err
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", u.Path, u.Host); err != nil {
		return err
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	n, err := io.CopyN(f, r, int64(r.Buffered()))
	left := resp.ContentLength - n
	switch {
	case err != nil:
	case how == "copy":
		// as bare interfaces, or they would find splice(2) themselves
		body := struct{ io.Reader }{io.LimitReader(conn, left)}
		n, err = io.CopyBuffer(struct{ io.Writer }{f}, body, make([]byte, mib))
	case how == "splice":
		n, err = left, spliceInto(f, conn.(*net.TCPConn), left)
	}
	if err == nil && n != left {
		err = io.ErrUnexpectedEOF
	}
	return errors.Join(err, f.Close())
}

// spliceInto moves n bytes from a socket to a file within the kernel.
func spliceInto(to *os.File, from *net.TCPConn, n int64) error {
	socket, err := from.File()
	if err != nil {
		return err
	}
	defer socket.Close()
	in, out := int(socket.Fd()), int(to.Fd()) // Fd makes them block
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	// the most that an ordinary user may have; less works, only slower
	_, _ = unix.FcntlInt(uintptr(pipe[1]), unix.F_SETPIPE_SZ, mib)
	for n > 0 {
		got, err := unix.Splice(in, nil, pipe[1], nil, int(min(n, mib)), 0)
		if err != nil {
			return os.NewSyscallError("splice", err)
		}
		if got == 0 {
			return io.ErrUnexpectedEOF
		}
		for n -= got; got > 0; {
			put, err := unix.Splice(pipe[0], nil, out, nil, int(got), 0)
			if err != nil {
				return os.NewSyscallError("splice", err)
			}
			got -= put
		}
	}
	return nil
}

// installed reports whether there is a program, and says so if not.
func (r *report) installed(name string) bool {
	_, err := exec.LookPath(name)
	if err != nil {
		r.line(name, "is not installed")
	}
	return err == nil
}

// runApart runs a program on the core of those that download and returns what
// it prints and costs, its start included.
func runApart(b *testing.B, apart func(func()), cmd *exec.Cmd) (output string, c cost) {
	b.Helper()
	var printed, complaints strings.Builder
	cmd.Stdout, cmd.Stderr = &printed, &complaints
	start := time.Now()
	var err error
	apart(func() { err = cmd.Start() })
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		b.Fatalf("%s: %v\n%s", cmd.Path, err, complaints.String())
	}
	c.wall = time.Since(start)
	c.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return printed.String(), c
}
