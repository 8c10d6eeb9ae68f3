//go:build linux

package integration

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// loadingCaddy is a Caddy that also has the storage module's own Load to be
// called.
var loadingCaddy = sync.OnceValues(func() (path string, err error) {
	path = filepath.Join(filepath.Dir(caddyBinary), "loading-"+filepath.Base(caddyBinary))
	return path, buildCaddy(path, "--with", redisModule,
		"--with", "github.com/onebot-caddy/plainload@v0.0.0=./integration/testdata/plainload")
})

// sharedBench is a node that is measured, and another one that has the files
// first.
type sharedBench struct {
	*testing.B
	origin       *fastOrigin
	redis        *redis
	node         *instance
	first, calls *line // to the other node, and to this one
}

func newSharedBench(b *testing.B) *sharedBench {
	r := startRealRedis(b)
	binary, err := loadingCaddy()
	if err != nil {
		b.Fatal(err)
	}
	caddyfile := "http://<SITE> {\n" +
		"\troute /load {\n\t\tplain_load\n\t}\n" +
		"\tonebot_meta {\n" + openToLoopback + "\n\t\tcache {\n\t\t\tmax_size 0\n\t\t\tshare\n\t\t}\n\t}\n}\n" +
		"http://<OTHER> {\n\tonebot_meta {\n\t\tname alone\n" + openToLoopback + "\n\t}\n}"
	opts := []option{program(binary), global(fmt.Sprintf("\tstorage redis {\n\t\thost %s\n\t\tport %s\n\t\tkey_prefix %s\n\t}", r.host, r.port, keyPrefix))}
	s := &sharedBench{B: b, redis: r}
	apart := separate(b) // from Redis, too
	other := startCaddy(b, caddyfile, opts...)
	apart(func() { s.node = startCaddy(b, caddyfile, opts...) })
	s.origin = newFastOrigin(b)
	s.first, s.calls = dialLines(b, other.addr, 1)[0], dialLines(b, s.node.addr, 1)[0]
	return s
}

// publish has the other node put n files into the storage and returns their
// URLs.
func (s *sharedBench) publish(size int64, n int, name string) (urls []string) {
	s.Helper()
	count := func() int { return len(s.redis.keys(s, keyPrefix+"/onebot_meta/onebot/manifest/")) }
	before := count()
	for i := range n {
		urls = append(urls, s.origin.at("fresh", size, fmt.Sprint(name, "-", i)))
		s.first.download(s.B, urls[i])
	}
	eventually(s, "copies to be in the storage", func() bool { return count() == before+n })
	return urls
}

// store has the storage module keep bytes in pieces and returns the request that
// loads them.
func (s *sharedBench) store(size, piece int64) (load []byte) {
	s.Helper()
	query := make(url.Values)
	for at := int64(0); at < size; at += piece {
		key := fmt.Sprintf("loaded/%d/%d", piece, at)
		content := make([]byte, 0, piece)
		for int64(len(content)) < min(piece, size-at) {
			content = append(content, s.origin.block[:min(mib, min(piece, size-at)-int64(len(content)))]...)
		}
		req, err := http.NewRequest("PUT", "http://"+s.node.addr+"/load?key="+key, bytes.NewReader(content))
		if err != nil {
			s.Fatal(err)
		}
		resp, err := s.node.client.Do(req)
		if err != nil {
			s.Fatal(err)
		}
		resp.Body.Close()
		query.Add("key", key)
	}
	return fmt.Appendf(nil, "GET /load?%s HTTP/1.1\r\nHost: %s\r\n\r\n", query.Encode(), s.node.addr)
}

// BenchmarkSharedFile downloads files that another node has put into the
// storage, and has the storage module load the same bytes.
func BenchmarkSharedFile(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int64
		times int
	}{{"64 KiB", 64 * kib, 200}, {"4 MiB", 4 * mib, 10}, {"64 MiB", 64 * mib, 1}} {
		b.Run(size.name, func(b *testing.B) {
			r := newReport(b, fmt.Sprintf("%d files of %s from Redis, one after the other", size.times, size.name))
			s := newSharedBench(b)
			load := func(request []byte) func(int) cost {
				return func(int) cost {
					return together(b, s.node.pid, []*line{s.calls}, func(l *line) error {
						for range size.times {
							if got, err := l.do(request); err != nil || got != strconv.FormatInt(size.bytes, 10) {
								return fmt.Errorf("%s bytes were loaded (%w)", got, err)
							}
						}
						return nil
					})
				}
			}
			const shared, whole, pieces = "download_file", "Load", "Load of parts, one after the other"
			got := compare(256*mib,
				contender{shared, func(round int) cost {
					urls, files := s.publish(size.bytes, size.times, fmt.Sprint("round-", round)), make([]string, size.times)
					asked := s.origin.asked.Load()
					start, before := time.Now(), cpuTime(b, s.node.pid)
					for i, url := range urls {
						files[i] = s.calls.download(b, url)
					}
					c := cost{time.Since(start), cpuTime(b, s.node.pid) - before}
					if n := s.origin.asked.Load() - asked; n > 0 {
						b.Fatalf("the origin was asked %d times", n)
					}
					awaitRecords(b, s.node, files...) // in the background, while nobody else is measured
					for _, file := range files {
						s.origin.check(b, file, size.bytes)
					}
					return c
				}},
				contender{whole, load(s.store(size.bytes, size.bytes))},
				contender{pieces, load(s.store(size.bytes, 256*kib))},
			)
			r.costs(got, shared, whole, pieces)
			r.ratio(got, shared, whole, "wall", wall, 1.5)
			r.ratio(got, shared, whole, "CPU", cpu, 0)
			r.ratio(got, shared, pieces, "wall", wall, 0)
			r.ratio(got, shared, pieces, "CPU", cpu, 0)
		})
	}
}

// BenchmarkSharedHit calls download_file for a file that is at hand and fresh,
// of a handler that shares its files and of one that does not.
func BenchmarkSharedHit(b *testing.B) {
	const calls, with, without = 20_000, "with share", "without"
	r := newReport(b, fmt.Sprintf("%d calls answered from the cache, with share and without", calls))
	s := newSharedBench(b)
	url := s.publish(manySize, 1, "file")[0]
	all := map[string][]*line{with: dialLines(b, s.node.addr, atOnce), without: dialLines(b, s.node.other, atOnce)}
	for _, n := range []int{1, atOnce} {
		contend := func(name string) contender {
			lines := all[name][:n]
			file := lines[0].download(b, url)
			return contender{fmt.Sprintf("%s, %d at once", name, n), func(int) cost {
				return repeat(b, s.node, lines, calls, file, "download_file", params{"url": url})
			}}
		}
		one, other := contend(with), contend(without)
		got := compare(mib, one, other)
		r.costs(got, one.name, other.name)
		r.ratio(got, one.name, other.name, "wall", wall, 1.05)
		r.ratio(got, one.name, other.name, "CPU", cpu, 1.05)
	}
}
