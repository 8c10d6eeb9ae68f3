package share

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/share/sharetest"
)

// FuzzTime takes any text for a time that a node has stored. It is never one
// that is yet to come, and what was stored here is read back.
func FuzzTime(f *testing.F) {
	for _, seed := range []string{"2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:05+08:00", "9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z", "2026-01-02", " ", ""} {
		f.Add(seed, int64(0))
	}
	f.Add("", int64(-1)<<62)
	f.Add("", int64(time.Hour))
	f.Fuzz(func(t *testing.T, value string, ago int64) {
		at, now := timeOf([]byte(value)), time.Now()
		said, err := time.Parse(time.RFC3339, value)
		switch {
		case at.After(now):
			t.Errorf("%q is %s from now", value, at.Sub(now))
		case !at.IsZero() && (err != nil || said.Before(now.Add(-time.Second)) && !at.Equal(said)):
			t.Errorf("%q is %s", value, at)
		case !at.IsZero() && said.After(now.Add(25*time.Hour)):
			t.Errorf("%q is believed", value)
		case at.IsZero() && err == nil && !said.IsZero() && said.Before(now):
			t.Errorf("%q is no time", value)
		}
		then := now.Add(-time.Duration(ago) & (1<<62 - 1))
		if then = now.Add(-max(now.Sub(then), 0)); !timeOf(formatTime(then)).Equal(then) {
			t.Errorf("%s became %s", then, timeOf(formatTime(then)))
		}
	})
}

// FuzzStray puts any keys, one a line, with any value in a storage that has a
// copy, and has a node clean up. The copy stays, and so does what is none of
// ours; a manifest that makes no sense goes.
func FuzzStray(f *testing.F) {
	a, b := keyOf(0), keyOf(1)
	for _, seed := range []string{
		"certificates/x\nonebot_meta/other/manifest/00", "onebot_meta/test/manifest/" + b, "onebot_meta/test/manifest/" + a + "/x",
		"onebot_meta/test/manifest/XY\nonebot_meta/test/manifest/../../x", "onebot_meta/test/part/" + a + "-00/0\nonebot_meta/test/part/" + a + "-/0",
		"onebot_meta/test/part/-00/0\nonebot_meta/test/part/zz\nonebot_meta/test/part/" + b + "-00ff/1/2", "onebot_meta/test/used/" + a + "\nonebot_meta/test/used/" + b,
		"onebot_meta/test/cleaned\nonebot_meta/test/probe\nonebot_meta/test/manifest",
	} {
		f.Add(seed, []byte("2026-01-02T03:04:05Z"), true)
		f.Add(seed, []byte(manifestMark), false)
	}
	f.Fuzz(func(t *testing.T, keys string, value []byte, deep bool) {
		strays := strings.Split(keys, "\n")
		if len(strays) > 20 || len(keys) > 2000 {
			return // which would only take longer
		}
		synctest.Test(t, func(t *testing.T) {
			m := sharetest.NewMemory()
			m.Deep = deep
			n := newNode(t, confused{m}, Options{MaxAge: 1000 * time.Hour})
			content := random(1, 1000)
			n.puts(t, a, content)
			for _, key := range strays {
				if _, taken := m.Get(key); !taken && clean(key) {
					m.Set(key, value)
				}
			}
			if err := n.clean(time.Now()); err != nil {
				t.Fatal(err)
			}
			n.wants(t, a, content)
			for _, key := range strays {
				if _, there := m.Get(key); !there && clean(key) && !strings.HasPrefix(key, prefix+"/") {
					t.Errorf("%q is gone", key)
				}
				manifest, isManifest := strings.CutPrefix(key, prefix+"/manifest/")
				_, there := m.Get(key)
				if there && isManifest && isHex(manifest) && manifest != a {
					t.Errorf("%q is still there", key)
				}
				set, isPart := strings.CutPrefix(key, prefix+"/part/")
				of, id, _ := strings.Cut(strings.Split(set, "/")[0], "-")
				if !there && clean(key) && (isManifest && !isHex(manifest) || isPart && !(isHex(of) && isHex(id))) {
					t.Errorf("%q is gone, which no node has stored", key)
				}
			}
			wantNothingLeft(t, m)
		})
	})
}

// clean reports whether a key is a path as those of storages are.
func clean(key string) bool {
	for name := range strings.SplitSeq(key, "/") {
		if name == "" || name == "." || name == ".." {
			return false
		}
	}
	return true
}
