package share

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/share/sharetest"
)

var sample = Copy{
	ID: "00ff", Size: 1 << 20, Sum: emptySum, Part: partSize,
	Stored: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Meta: []byte(`{"ext":"png"}`),
}

func changed(change func(*Copy)) Copy {
	c := sample
	change(&c)
	return c
}

func TestAManifestThatMakesNoSenseIsNone(t *testing.T) {
	for name, c := range map[string]Copy{
		"no id":                       changed(func(c *Copy) { c.ID = "" }),
		"an id that is no number":     changed(func(c *Copy) { c.ID = "../../x" }),
		"an id in upper case":         changed(func(c *Copy) { c.ID = "FF" }),
		"a long id":                   changed(func(c *Copy) { c.ID = strings.Repeat("0", 65) }),
		"no sum":                      changed(func(c *Copy) { c.Sum = "" }),
		"a short sum":                 changed(func(c *Copy) { c.Sum = c.Sum[1:] }),
		"a negative size":             changed(func(c *Copy) { c.Size = -1 }),
		"a size that nobody has":      changed(func(c *Copy) { c.Size = maxCopy + 1 }),
		"parts of nothing":            changed(func(c *Copy) { c.Part = 0 }),
		"parts of less":               changed(func(c *Copy) { c.Part = -1 }),
		"parts that fill the memory":  changed(func(c *Copy) { c.Part = partSize + 1 }),
		"more parts than can be read": changed(func(c *Copy) { c.Size, c.Part = maxCopy, 1 }),
	} {
		if _, err := formatManifest(keyOf(0), c); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestADamagedManifestIsNone(t *testing.T) {
	m := sharetest.NewMemory()
	n := newNode(t, m, Options{})
	path := n.path(manifestDir, keyOf(0))
	n.puts(t, keyOf(0), []byte("content"))
	value, _ := m.Get(path)
	for i := range value { // each byte
		for _, damaged := range [][]byte{
			append(append([]byte(nil), value[:i]...), value[i+1:]...),
			append(append(append([]byte(nil), value[:i]...), value[i]^1), value[i+1:]...),
			value[:i],
		} {
			m.Set(path, damaged)
			if c, err := n.Find(t.Context(), keyOf(0)); !errors.Is(err, ErrDamaged) {
				t.Fatalf("%q gives %+v, %v", damaged, c, err)
			}
		}
	}
	m.Set(n.path(manifestDir, keyOf(1)), value)
	if _, err := n.Find(t.Context(), keyOf(1)); !errors.Is(err, ErrDamaged) {
		t.Errorf("that of another key: %v", err)
	}
	m.Set(path, value)
	n.wants(t, keyOf(0), []byte("content"))
	if n.logs.Len() > 0 {
		t.Errorf("logged: %v", n.logs.All())
	}
}

// FuzzManifest takes any text for a manifest, and for the JSON in one.
func FuzzManifest(f *testing.F) {
	value, err := formatManifest(keyOf(0), sample)
	if err != nil {
		f.Fatal(err)
	}
	_, text, _ := strings.Cut(string(value), "\n")
	for _, seed := range []string{
		"", "\n", manifestMark, string(value), text,
		strings.Replace(text, `"00ff"`, `"../x"`, 1),
		strings.Replace(text, "1048576", "-1", 1),
		strings.Replace(text, "1048576", "1e99", 1),
		strings.Replace(text, "262144", "0", 1),
		text + text, "[]", "null", `{"id":1}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		whole := manifestMark + manifestSum(keyOf(0), []byte(s)) + "\n" + s
		for _, value := range []string{s, whole} {
			c, err := parseManifest(keyOf(0), []byte(value))
			if err != nil {
				if !errors.Is(err, ErrDamaged) || !reflect.DeepEqual(c, Copy{}) {
					t.Fatalf("%+v, %v", c, err)
				}
				continue
			}
			if !isHex(c.ID) || c.Size < 0 || c.Part < 1 || c.Part > partSize || c.parts() > maxOfCopy {
				t.Fatalf("%+v", c)
			}
			sum := int64(0)
			if c.parts() < 1000 {
				for n := range c.parts() {
					if c.length(n) < 1 || c.length(n) > c.Part {
						t.Fatalf("part %d of %+v has %d bytes", n, c, c.length(n))
					}
					sum += c.length(n)
				}
				if sum != c.Size {
					t.Fatalf("the parts of %+v have %d bytes", c, sum)
				}
			}
			if _, err := formatManifest(keyOf(1), c); err != nil && !errors.Is(err, ErrTooLarge) && c.Stored.Year() < 9999 {
				t.Fatalf("%+v: %v", c, err)
			}
		}
	})
}
