package diskcache

import (
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// mtimeSlack is how exactly a modification time may tell two changes apart.
const mtimeSlack = 2 * time.Second

// company knows whether others store files in the directory. Whoever does has a
// session, from before the first file on.
type company struct {
	mu   sync.Mutex
	seen sessions
	read time.Time // sessions.changed, if the directory has been read since
}

// sessions are those there are in the directory.
type sessions struct {
	changed time.Time // when one came or went last, as the directory has it
	since   time.Time // when this process first saw that
	settled bool      // no change can hide behind it
	others  bool      // there are some beside ours
	far     bool      // there are some of another host, or another mount
}

// oursAlone reports whether there is certainly none but ours.
func (s sessions) oursAlone() bool { return s.settled && !s.others }

// alone reports whether there is nothing in the directory that this process does
// not know of. It costs one look at a modification time.
func (c *Cache) alone() bool {
	s := c.lookForOthers()
	c.company.mu.Lock()
	defer c.company.mu.Unlock()
	return s.oursAlone() && s.changed.Equal(c.company.read)
}

// hasRead notes that everything in the directory has been read after s was seen.
func (c *Cache) hasRead(s sessions) {
	if !c.hasNews(s) {
		return
	}
	c.mu.Lock()
	c.index.doubtRecords() // others may have left other ones
	c.mu.Unlock()
	c.company.mu.Lock()
	defer c.company.mu.Unlock()
	c.company.read = s.changed
}

// hasNews reports whether sessions have come or gone since everything was read,
// and only this one is left.
func (c *Cache) hasNews(s sessions) bool {
	c.company.mu.Lock()
	defer c.company.mu.Unlock()
	return s.oursAlone() && !s.changed.Equal(c.company.read)
}

// allNear reports whether every session is of this host, and of this mount. Where
// the directory is mounted otherwise, as by another version of NFS, a file may be
// without its attributes. A process of another host counts from when it has a
// session, which its first download gives it; what was stored before is found
// there when it is proven, at the latest.
func (c *Cache) allNear() bool { return !c.lookForOthers().far }

// lookAgain has the sessions looked for whatever the time of their directory says,
// which some file systems do not keep.
func (c *Cache) lookAgain() {
	c.company.mu.Lock()
	defer c.company.mu.Unlock()
	c.company.seen.settled = false
}

// lookForOthers returns the sessions there are, the worst if in doubt.
func (c *Cache) lookForOthers() sessions {
	c.sessions.Lock()
	ours := c.session
	c.sessions.Unlock()
	unknown := sessions{others: true, far: true}
	if ours == nil {
		return unknown
	}
	temp := filepath.Dir(ours.dir)
	changed, err := modified(temp)
	if err != nil {
		return unknown
	}
	now := c.now() // not before, lest the change be newer
	c.company.mu.Lock()
	defer c.company.mu.Unlock()
	s := &c.company.seen
	if s.settled && changed.Equal(s.changed) {
		return *s
	}
	if !changed.Equal(s.changed) {
		*s = sessions{changed: changed, since: now}
	}
	names, err := readNames(temp, "")
	if err != nil {
		return unknown
	}
	ourName := filepath.Base(ours.dir)
	host, _, _ := strings.Cut(ourName, "-")
	s.others, s.far = false, false
	for name := range names {
		// who has lost the lock, as to one who took it for dead, may live
		if session := strings.TrimSuffix(name, lockSuffix); session != ourName {
			s.others = true
			s.far = s.far || !strings.HasPrefix(session, host+"-")
		}
	}
	if s.others {
		c.company.read = time.Time{} // whether or not times tell of them
	}
	s.settled = now.Sub(s.since) > mtimeSlack
	return *s
}
