package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func TestWhatIsTooLargeToShareIsFetchedByEachNode(t *testing.T) {
	t.Parallel() // it waits for other processes most of the time
	const most = 300_000
	r := startRedis(t)
	c := onRedis(t, 2, r, caching("share "+strconv.Itoa(most)))
	o := newOrigin(t)
	fresh := []string{"Cache-Control", "max-age=60"}
	t.Run("but not what just fits", func(t *testing.T) {
		body := filler(most)
		url := o.handle("/fits.bin", edition{body: body, header: fresh}.offer)
		for _, node := range c.nodes {
			wantContent(t, node.fetch(t, url), body)
		}
		if n := len(o.asked("/fits.bin")); n != 1 {
			t.Errorf("the origin had %d requests", n)
		}
	})
	if n := len(c.shared(t, "part/")); n != 2 {
		t.Errorf("Redis has %d parts", n)
	}
	body := filler(most + 1)
	t.Run("at a time if it says how long it is", func(t *testing.T) {
		g := newGate()
		call := params{"url": o.handle("/told.bin", g.after(1000, edition{body: body, header: fresh}.offer))}
		var calls []waiting
		for _, node := range c.nodes {
			calls = append(calls, node.ask(t, 2, call)...)
			receive(t, g.passed, "a fetch to begin, while others are under way")
		}
		g.open()
		for _, call := range calls {
			wantContent(t, call.file(t), body)
		}
	})
	t.Run("and one after the other if it does not", func(t *testing.T) {
		url := o.handle("/untold.bin", edition{body: body, header: fresh, chunked: true}.offer)
		for range 2 {
			for _, node := range c.nodes {
				wantContent(t, node.fetch(t, url), body)
			}
		}
		if n := len(o.asked("/untold.bin")); n != len(c.nodes) {
			t.Errorf("the origin had %d requests", n)
		}
	})
	if parts := c.shared(t, "part/"); len(parts) != 2 {
		t.Errorf("Redis has %q", parts)
	}
}

func TestALargeFileFromTheStorageTakesLittleMemory(t *testing.T) {
	t.Parallel() // it waits for other processes most of the time
	const size = 64 << 20
	c := onRedis(t, 2, startRedis(t), copying())
	o := newOrigin(t)
	piece := filler(1 << 20)
	url := o.handle("/large.bin", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Content-Length", strconv.Itoa(size))
		for range size / len(piece) {
			if _, err := io.WriteString(w, piece); err != nil {
				return
			}
		}
	})
	body := strings.Repeat(piece, size/len(piece))
	small := o.handle("/small.bin", edition{body: "small", header: []string{"Cache-Control", "max-age=60"}}.offer)
	peaks := make([]int64, len(c.nodes))
	for i, node := range c.nodes {
		wantContent(t, node.fetch(t, small), "small") // so that all of the code is in memory
		peaks[i] = peakMemory(t, node.pid)
	}
	for i, node := range c.nodes {
		file := node.fetch(t, url)
		wantContent(t, file, body)
		if n := len(o.asked("/large.bin")); n != 1 {
			t.Errorf("the origin had %d requests after %d nodes", n, i+1)
		}
	}
	for i, node := range c.nodes {
		// Four parts of 256 KiB are on their way at a time. The module makes of
		// each some three times as much, in JSON, and the garbage of that doubles
		// what there is before it is collected. The whole file would be more.
		const most = 48 << 20
		if grown := peakMemory(t, node.pid) - peaks[i]; grown >= most && !raceEnabled {
			t.Errorf("node %d grew by %d bytes", i, grown)
		}
	}
}

func TestCopiesAreKeptWithinBounds(t *testing.T) {
	t.Parallel() // it waits much of the time
	const most, each = 1 << 20, 3
	c := onRedis(t, 3, startRedis(t), copying("max_size "+strconv.Itoa(most)), "debug")
	o := newOrigin(t)
	var pending sync.WaitGroup
	for i, node := range c.nodes {
		pending.Go(func() {
			for n := range each { // which just fit into its own directory
				name := fmt.Sprintf("%d-%d", i, n)
				wantContent(t, node.fetch(t, o.handle("/"+name, kept(name))), name+letters(block-len(name)))
			}
		})
	}
	pending.Wait()
	size := func() (sum int) {
		for _, part := range c.shared(t, "part/") {
			if value, ok := c.redis.load(t, part); ok {
				sum += len(value)
			}
		}
		return sum
	}
	eventually(t, "the copies to be within bounds", func() bool { return size() <= most })
	eventually(t, "what belongs to no copy to be gone", func() bool {
		return len(c.shared(t, "part/")) == len(c.shared(t, "manifest/"))
	})
	if n := len(c.shared(t, "manifest/")); n < 2 {
		t.Errorf("but %d copies are left", n)
	}
	c.wantOneCleanerAtATime(t)
	for i, node := range c.nodes { // the files are as they were
		for n := range each {
			name := fmt.Sprintf("%d-%d", i, n)
			wantContent(t, node.fetch(t, o.url+"/"+name), name+letters(block-len(name)))
		}
	}
	if n := o.count(); n != each*len(c.nodes) {
		t.Errorf("the origin had %d requests", n)
	}
}

// wantOneCleanerAtATime fails the test if two nodes have cleaned up at a time,
// or none has.
func (c *cluster) wantOneCleanerAtATime(t testing.TB) {
	t.Helper()
	type span struct{ from, to float64 } // in seconds
	var spans []span
	for _, node := range c.nodes {
		for line := range strings.Lines(node.logs.String()) {
			var entry struct {
				Msg          string
				TS, Duration float64
			}
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "cleaned up the shared copies" {
				spans = append(spans, span{entry.TS - entry.Duration, entry.TS})
			}
		}
	}
	if len(spans) == 0 {
		t.Error("nobody has cleaned up")
	}
	for i, one := range spans {
		for _, other := range spans[:i] {
			if one.from < other.to && other.from < one.to {
				t.Errorf("one node cleaned up from %f to %f and another from %f to %f", one.from, one.to, other.from, other.to)
			}
		}
	}
}
