package share

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

const (
	// manifestMark begins a manifest. A sum of the key and of all that follows
	// comes next, and then, after a line break, the JSON of a Copy.
	manifestMark = "onebot_meta copy 1 "

	maxManifest = 256 << 10 // bytes, as for a part
	maxCopy     = 1 << 40   // bytes
	maxOfCopy   = 1 << 22   // parts
)

// Find returns what the storage has for key: [fs.ErrNotExist] if that is
// nothing, [ErrDamaged] if it makes no sense, [ErrDown], or another error.
func (c *Copies) Find(ctx context.Context, key string) (Copy, error) {
	copy, err := c.find(ctx, key)
	if err == nil && copy.over(time.Now()) {
		return Copy{}, fs.ErrNotExist
	}
	return copy, err
}

// find is Find of what is of no use any more, too.
func (c *Copies) find(ctx context.Context, key string) (Copy, error) {
	if !isHex(key) {
		return Copy{}, fs.ErrNotExist
	}
	value, err := c.load(ctx, c.path(manifestDir, key))
	if err != nil {
		return Copy{}, err
	}
	return parseManifest(key, value)
}

// Amend stores what is known of a copy anew, for example with another Meta. The
// caller holds the lock of key.
func (c *Copies) Amend(ctx context.Context, key string, copy Copy) error {
	value, err := formatManifest(key, copy)
	if err != nil {
		return err
	}
	return c.store(ctx, c.path(manifestDir, key), value)
}

func formatManifest(key string, copy Copy) ([]byte, error) {
	switch {
	case !isHex(key):
		return nil, errors.New("not the key of a shared copy")
	case !copy.valid():
		return nil, ErrDamaged
	case copy.Meta == nil:
		copy.Meta = json.RawMessage("null")
	}
	text, err := json.Marshal(copy)
	if err != nil {
		return nil, fmt.Errorf("describing a shared copy: %w", err)
	}
	value := append([]byte(manifestMark+manifestSum(key, text)+"\n"), text...)
	if len(value) > maxManifest {
		return nil, ErrTooLarge
	}
	return value, nil
}

// parseManifest reads the manifest of key. What is stored at another key, or
// cut, or changed by a bit, is none.
func parseManifest(key string, value []byte) (Copy, error) {
	head, text, _ := bytes.Cut(value, []byte("\n"))
	var copy Copy
	if len(value) > maxManifest ||
		string(head) != manifestMark+manifestSum(key, text) ||
		json.Unmarshal(text, &copy) != nil || !copy.valid() {
		return Copy{}, fmt.Errorf("%w: its manifest is", ErrDamaged)
	}
	return copy, nil
}

func manifestSum(key string, text []byte) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%s", key, text) // never fails
	return hex.EncodeToString(sum.Sum(nil))
}

// valid reports whether c can be the description of a copy.
func (c Copy) valid() bool {
	return isHex(c.ID) && len(c.ID) <= 64 && isSum(c.Sum) &&
		0 <= c.Size && c.Size <= maxCopy && 1 <= c.Part && c.Part <= partSize && c.parts() <= maxOfCopy
}

// over reports whether the copy is of no use any more.
func (c Copy) over(now time.Time) bool { return !c.Until.IsZero() && now.After(c.Until) }

// parts returns how many parts the copy has.
func (c Copy) parts() int64 { return (c.Size + c.Part - 1) / c.Part }

// length returns how many bytes the part n has.
func (c Copy) length(n int64) int64 { return min(c.Part, c.Size-n*c.Part) }

// load returns a small value.
func (c *Copies) load(ctx context.Context, path string) (value []byte, err error) {
	op := operation{name: "load", of: &c.health.reads, patience: smallPatience}
	return ask(ctx, c.health, op, func(ctx context.Context) ([]byte, error) { return c.storage.Load(ctx, path) })
}

// store stores a small value.
func (c *Copies) store(ctx context.Context, path string, value []byte) error {
	if err := c.health.check(ctx, 0); err != nil {
		return err
	}
	return c.health.do(ctx, operation{
		name:     "store",
		of:       &c.health.writes,
		patience: smallPatience,
		run:      func(ctx context.Context) error { return c.storage.Store(ctx, path, value) },
	})
}

// remove removes a value. A storage that is full allows that, and one that does
// not can still be read, so it says nothing about the storage.
func (c *Copies) remove(ctx context.Context, path string) error {
	return c.health.do(ctx, operation{
		name:     "delete",
		patience: smallPatience,
		run: func(ctx context.Context) error {
			if err := c.storage.Delete(ctx, path); failed(err) {
				return err
			}
			return nil
		},
	})
}

// timeOf reads a time as it is stored. One that makes no sense is the zero
// time.
func timeOf(value []byte) time.Time {
	at, err := time.Parse(time.RFC3339, string(value))
	if err != nil {
		return time.Time{}
	}
	return past(at)
}

// past returns a time that was in the past when it was stored. The clocks of
// nodes differ a bit, but a time from another day is none.
func past(at time.Time) time.Time {
	switch now := time.Now(); {
	case !at.After(now):
		return at
	case at.Sub(now) < 24*time.Hour:
		return now
	}
	return time.Time{}
}

func formatTime(at time.Time) []byte { return at.UTC().AppendFormat(nil, time.RFC3339Nano) }
