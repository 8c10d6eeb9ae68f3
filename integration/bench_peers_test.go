//go:build linux

package integration

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// plainEnv makes this program a plain downloader: its value says how. The
// arguments are a URL and a file, or, to download many, how many at once: then
// each line of its input is a URL and a file.
const plainEnv = "ONEBOT_META_BENCH_PLAIN"

func init() {
	how := os.Getenv(plainEnv)
	if how == "" {
		return
	}
	run := func() error { return plainDownload(how, os.Args[1], os.Args[2]) }
	if how == "many" {
		run = plainDownloads(os.Args[1], os.Stdin)
	}
	start, before := time.Now(), used()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(time.Since(start).Nanoseconds(), (used() - before).Nanoseconds())
	os.Exit(0)
}

// used returns the CPU time that this process has had.
func used() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
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

// plainDownloads returns what downloads many files at least have to do: a request
// each, on as many connections as there are files at once, and bodies that go
// into files.
func plainDownloads(atOnce string, list io.Reader) func() error {
	n, err := strconv.Atoi(atOnce)
	if err != nil {
		return func() error { return err }
	}
	input, err := io.ReadAll(list)
	jobs := make(chan [2]string, bytes.Count(input, []byte("\n")))
	for line := range strings.Lines(string(input)) {
		from, to, _ := strings.Cut(strings.TrimSpace(line), " ")
		jobs <- [2]string{from, to}
	}
	close(jobs)
	return func() error {
		errs := []error{err}
		var mu sync.Mutex
		var running sync.WaitGroup
		for range n {
			running.Go(func() {
				if err := plainWorker(jobs); err != nil {
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, err)
				}
			})
		}
		running.Wait()
		return errors.Join(errs...)
	}
}

// plainWorker downloads files, one after the other, by one connection.
func plainWorker(jobs <-chan [2]string) error {
	var conn net.Conn
	var r *bufio.Reader
	buffer := make([]byte, 64*kib)
	for job := range jobs {
		u, err := url.Parse(job[0])
		if err != nil {
			return err
		}
		if conn == nil {
			if conn, err = net.Dial("tcp", u.Host); err != nil {
				return err
			}
			defer conn.Close()
			r = bufio.NewReader(conn)
		}
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", u.Path, u.Host); err != nil {
			return err
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return err
		}
		f, err := os.Create(job[1])
		if err != nil {
			return err
		}
		// as a bare interface, or each file would have a buffer of its own
		n, err := io.CopyBuffer(struct{ io.Writer }{f}, resp.Body, buffer)
		if err == nil && n != resp.ContentLength {
			err = io.ErrUnexpectedEOF
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
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

// plainMany runs this program as a plain downloader of many files and returns
// what that cost, as it tells itself.
func plainMany(b *testing.B, apart func(func()), atOnce int, urls, files []string) (c cost) {
	b.Helper()
	program, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	var list strings.Builder
	for i := range urls {
		fmt.Fprintln(&list, urls[i], files[i])
	}
	cmd := exec.Command(program, strconv.Itoa(atOnce))
	cmd.Env = append(os.Environ(), plainEnv+"=many")
	cmd.Stdin = strings.NewReader(list.String())
	output, _ := runApart(b, apart, cmd)
	if _, err := fmt.Sscan(output, &c.wall, &c.cpu); err != nil {
		b.Fatalf("the plain downloader printed %q", output)
	}
	return c
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
