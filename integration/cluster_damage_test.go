package integration

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestADamagedCopyIsReplacedAndNeverReturned(t *testing.T) {
	t.Parallel() // it waits for three processes most of the time
	r := startRedis(t)
	c := onRedis(t, 3, r, copying())
	o := newOrigin(t)
	body := filler(700_000) // three parts, of which two are as long
	fresh := edition{body: body, header: []string{"Cache-Control", "max-age=60"}}
	other := c.publish(t, c.nodes[0], o.handle("/other.bin", edition{body: "other " + body, header: fresh.header}.offer))

	for damage, inflict := range map[string]func(t *testing.T, key, another string){
		"is gone":       func(t *testing.T, key, _ string) { r.do(t, "DEL", key) },
		"is empty":      func(t *testing.T, key, _ string) { r.store(t, key, nil) },
		"lacks its end": func(t *testing.T, key, _ string) { r.change(t, key, func(v []byte) []byte { return v[:len(v)-1] }) },
		"goes on": func(t *testing.T, key, _ string) {
			r.change(t, key, func(v []byte) []byte { return append(v, v[len(v)-1]) })
		},
		"has another bit": func(t *testing.T, key, _ string) {
			r.change(t, key, func(v []byte) []byte { v[len(v)/2] ^= 1; return v })
		},
		"is that of another file": func(t *testing.T, key, another string) { r.do(t, "COPY", another, key, "REPLACE") },
		"is not the module's":     func(t *testing.T, key, _ string) { r.do(t, "SET", key, "{") },
		"is of another kind": func(t *testing.T, key, _ string) {
			r.do(t, "DEL", key)
			r.do(t, "RPUSH", key, "a", "b")
		},
	} {
		for what, of := range map[string]func(copied) string{
			"manifest":    func(c copied) string { return c.manifest },
			"first part":  func(c copied) string { return c.parts[0] },
			"second part": func(c copied) string { return c.parts[1] },
			"last part":   func(c copied) string { return c.parts[2] },
		} {
			t.Run("whose "+what+" "+damage, func(t *testing.T) {
				path := "/" + strings.ReplaceAll(what+" "+damage, " ", "-")
				url := o.handle(path, fresh.offer)
				inflict(t, of(c.publish(t, c.nodes[0], url)), of(other))
				for i, node := range c.nodes {
					wantContent(t, node.fetch(t, url), body)
					if n, want := len(o.asked(path)), min(i+1, 2); n != want {
						t.Errorf("the origin had %d requests after %d nodes, want %d", n, i+1, want)
					}
				}
			})
		}
	}
	t.Run("whose parts are those of another version", func(t *testing.T) {
		url := o.handle("/versions.bin", steps(
			edition{body: body, etag: `"v1"`}.offer,
			edition{body: "new" + body[3:], etag: `"v2"`}.offer,
			edition{body: "new" + body[3:], etag: `"v2"`}.offer,
		))
		first := c.publish(t, c.nodes[0], url)
		old, _ := r.load(t, first.parts[0])
		second := c.publish(t, c.nodes[0], url)
		r.store(t, second.parts[0], old)
		wantContent(t, c.nodes[1].fetch(t, url), "new"+body[3:])
	})
	t.Run("of which the parts are mixed up", func(t *testing.T) {
		url := o.handle("/mixed.bin", fresh.offer)
		copy := c.publish(t, c.nodes[0], url)
		one, _ := r.load(t, copy.parts[0])
		two, _ := r.load(t, copy.parts[1])
		r.store(t, copy.parts[0], two)
		r.store(t, copy.parts[1], one)
		wantContent(t, c.nodes[1].fetch(t, url), body)
	})
}

// copied is where a file is in Redis.
type copied struct {
	manifest string
	parts    []string
}

// publish downloads a file at a node and returns where it is in Redis when that
// is all there.
func (c *cluster) publish(t testing.TB, node *instance, url string) copied {
	t.Helper()
	before := make(map[string]string)
	for _, manifest := range c.shared(t, "manifest/") {
		before[manifest] = c.copyID(t, manifest)
	}
	node.fetch(t, url)
	var found copied
	eventually(t, "the copy to be in Redis", func() bool {
		for _, manifest := range c.shared(t, "manifest/") {
			if id := c.copyID(t, manifest); id != "" && id != before[manifest] {
				key := manifest[strings.LastIndex(manifest, "/")+1:]
				found = copied{manifest, c.shared(t, "part/"+key+"-"+id)}
				slices.Sort(found.parts)
			}
		}
		return found.manifest != ""
	})
	return found
}

// copyID returns the ID in a manifest, or "" if that makes no sense.
func (c *cluster) copyID(t testing.TB, manifest string) string {
	t.Helper()
	var wrapped wrapped
	var fields struct{ ID string }
	text, err := c.redis.try("GET", manifest)
	if err != nil {
		return ""
	}
	whole, _ := text.(string)
	if json.Unmarshal([]byte(whole), &wrapped) != nil {
		return ""
	}
	_, described, _ := strings.Cut(string(wrapped.Value), "\n")
	if json.Unmarshal([]byte(described), &fields) != nil {
		return ""
	}
	return fields.ID
}

// change changes a value that the module has stored.
func (r *redis) change(t testing.TB, key string, by func([]byte) []byte) {
	t.Helper()
	value, ok := r.load(t, key)
	if !ok || len(value) == 0 {
		t.Fatalf("%s is not there", key)
	}
	r.store(t, key, by(value))
}
