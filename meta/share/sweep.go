package share

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	listPatience = time.Minute
	cleanWorkers = 8
)

// sweep is what is done while the lock of cleaning is held.
type sweep struct {
	*Copies
	ctx context.Context

	files []file          // the least recently used first
	byKey map[string]file // all of them
	uses  []string        // keys
	sets  []string        // of parts

	removed int
	freed   int64
}

// file is a copy as it was found at first.
type file struct {
	key, id string // without an id there is no telling what it is
	size    int64
	used    time.Time
	over    bool // it is of no use any more
}

// survey sees what there is.
func (s *sweep) survey() error {
	// parts first: what has none of a manifest then is not just being stored
	sets, err := s.list(partDir)
	if err != nil {
		return err
	}
	keys, err := s.list(manifestDir)
	if err != nil {
		return err
	}
	if s.uses, err = s.list(usedDir); err != nil {
		return err
	}
	used := make(map[string]bool, len(s.uses))
	for _, key := range s.uses {
		used[key] = true
	}
	s.sets, s.byKey = sets, make(map[string]file, len(keys))
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(s.ctx)
	group.SetLimit(cleanWorkers)
	for _, key := range keys {
		if ctx.Err() != nil {
			break
		}
		if !isHex(key) {
			continue
		}
		group.Go(func() error {
			f, err := s.look(ctx, key, used[key])
			mu.Lock()
			defer mu.Unlock()
			s.byKey[key] = f
			return err
		})
	}
	if err := errors.Join(group.Wait(), s.ctx.Err()); err != nil {
		return err
	}
	for _, f := range s.byKey {
		s.files = append(s.files, f)
	}
	slices.SortFunc(s.files, func(a, b file) int {
		if c := a.used.Compare(b.used); c != 0 {
			return c
		}
		return strings.Compare(a.key, b.key)
	})
	return nil
}

// look returns what is at key.
func (s *sweep) look(ctx context.Context, key string, noted bool) (file, error) {
	f := file{key: key}
	switch copy, err := s.find(ctx, key); {
	case errors.Is(err, ErrDown):
		return f, err
	case ctx.Err() != nil:
		return f, context.Cause(ctx)
	case err == nil:
		f.id, f.size, f.used, f.over = copy.ID, copy.Size, past(copy.Stored), copy.over(time.Now())
	}
	if !noted || f.id == "" {
		return f, nil
	}
	value, err := s.load(ctx, s.path(usedDir, key))
	if errors.Is(err, ErrDown) {
		return f, err
	}
	if used := timeOf(value); used.After(f.used) {
		f.used = used
	}
	return f, nil
}

// list returns the names right below a directory, once each.
func (s *sweep) list(dir string) ([]string, error) {
	prefix := s.prefix + "/" + dir + "/"
	keys, err := s.keys(path.Clean(prefix), false)
	names := keys[:0]
	for _, key := range keys {
		if name, ok := strings.CutPrefix(key, prefix); ok {
			name, _, _ = strings.Cut(name, "/")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

func (s *sweep) keys(dir string, recursive bool) ([]string, error) {
	op := operation{name: "list", patience: listPatience}
	keys, err := ask(s.ctx, s.health, op, func(ctx context.Context) ([]string, error) { return s.storage.List(ctx, dir, recursive) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return keys, err
}

// removeExcess removes what makes no sense, what is too old, and then the least
// recently used until the rest is within the limit.
func (s *sweep) removeExcess(now time.Time) error {
	excess := int64(0)
	if s.opts.MaxSize > 0 {
		excess = -s.opts.MaxSize
		for _, f := range s.files {
			excess += f.size
		}
	}
	for _, f := range s.files {
		old := f.over || s.opts.MaxAge > 0 && now.Sub(f.used) >= s.opts.MaxAge
		if f.id != "" && !old && excess-s.freed <= 0 {
			continue
		}
		if err := s.remove(f); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a copy, unless somebody is about to change it.
func (s *sweep) remove(f file) error {
	return s.withLock(f.key, func() error {
		copy, err := s.find(s.ctx, f.key)
		switch {
		case errors.Is(err, ErrDown):
			return err
		case s.ctx.Err() != nil:
			return context.Cause(s.ctx)
		case copy.ID != f.id: // it is another one now
			return nil
		case err != nil && s.health.ask(s.ctx) != nil:
			return err // it is not just this value that cannot be read
		}
		if err := s.Copies.remove(s.ctx, s.path(manifestDir, f.key)); err != nil {
			return err
		}
		if f.id == "" {
			return nil
		}
		s.removed++
		s.freed += f.size
		if err := s.removeParts(s.ctx, f.key, copy); err != nil {
			return err
		}
		return s.Copies.remove(s.ctx, s.path(usedDir, f.key))
	})
}

// removeRest removes what belongs to no copy.
func (s *sweep) removeRest() error {
	for _, key := range s.uses {
		if s.byKey[key].id != "" || !isHex(key) {
			continue
		}
		if err := s.Copies.remove(s.ctx, s.path(usedDir, key)); err != nil {
			return err
		}
	}
	for _, set := range s.sets {
		key, id, ok := strings.Cut(set, "-")
		if !ok || !isHex(key) || !isHex(id) || s.byKey[key].id == id {
			continue
		}
		if err := s.removeSet(key, id); err != nil {
			return err
		}
	}
	return nil
}

// removeSet removes the parts of what is no copy, or just not yet.
func (s *sweep) removeSet(key, id string) error {
	return s.withLock(key, func() error {
		copy, err := s.find(s.ctx, key)
		if err == nil && copy.ID == id {
			return nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrDamaged) {
			if errors.Is(err, ErrDown) {
				return err
			}
			return nil
		}
		dir := s.path(partDir, key+"-"+id)
		keys, err := s.keys(dir, true)
		for _, key := range keys {
			if !strings.HasPrefix(key, dir+"/") {
				continue
			}
			if err := s.Copies.remove(s.ctx, key); err != nil {
				return err
			}
		}
		return err
	})
}

// withLock does something while nobody else changes what is at key. If somebody
// does, it does nothing.
func (s *sweep) withLock(key string, do func() error) error {
	release, err := s.lock(s.ctx, key, cleanPatience)
	if errors.Is(err, ErrBusy) {
		return nil
	}
	if err != nil {
		return err
	}
	defer release()
	return do()
}
