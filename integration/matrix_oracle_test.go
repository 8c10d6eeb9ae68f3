package integration

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// upshot is what may come of a call. One that brings a file brings the right
// one.
type upshot struct {
	file, failure, end bool   // end is that of the connection, without an answer
	why                string // is in the message of a failure
	gone               bool   // the file may be out of reach by now
}

// calls returns how many calls a case makes at once.
func (c downloadCase) calls() int {
	if c.stage == joining || c.trouble.class == ofCallers {
		return 2
	}
	return 1
}

// leavers returns how many of them give up.
func (c downloadCase) leavers() int {
	switch c.trouble {
	case allLeave:
		return c.calls()
	case oneLeaves:
		return 1
	}
	return 0
}

// expected is what must come of the calls that do not give up.
func (c downloadCase) expected() upshot {
	switch f := c.trouble; {
	case f.class == ofDisk, f.is(smallFiles):
		return c.onBadDisk()
	case f == forgets:
		return upshot{file: c.stage == committing, failure: true, why: "cancelled"}
	case f == stopsSoon:
		return upshot{file: c.stage == committing, failure: true, end: true, why: "cancelled"}
	case f == dies:
		return upshot{file: c.stage == committing, end: true}
	case f.class >= ofCallers:
		return upshot{file: true}
	case c.helped():
		return upshot{file: true}
	}
	return upshot{failure: true, why: c.why()}
}

// onBadDisk is expected where there is a cache that cannot take a file.
func (c downloadCase) onBadDisk() upshot {
	written := upshot{failure: true, why: "written"}
	switch c.trouble {
	case deleted: // which may be mended by the time that it is noticed
		return upshot{file: true, failure: true, why: "written", gone: c.stage == committing}
	case smallFiles:
		if c.kind == empty || c.way == askedAgain {
			return upshot{file: true} // there is nothing to write
		}
	}
	if c.stage == committing { // which may be over by then
		written.file, written.gone = true, c.trouble == unwritable
	}
	return written
}

// helped reports whether a file comes in spite of a trouble with the origin: it
// is none, or another try gets it, or the whole file is asked for after all.
func (c downloadCase) helped() bool {
	f := c.trouble
	switch {
	case f == newVersion, f == wrongRange:
		return true
	case f.is(tooShort):
		// a length that is told is believed, unless a range says another
		return c.way != goingOn || f.passes
	case f.status == 404, f.status == 416:
		return c.way == goingOn // where it is the range that is refused
	case c.kind == empty && c.stage == afterHead && f.class == ofWire:
		return true // what comes behind the end does not matter
	case f == timesOut, f == tooLarge:
		return false
	}
	return f.passes
}

// why is what the message of a failure says.
func (c downloadCase) why() string {
	f := c.trouble
	switch {
	case f.status != 0:
		return fmt.Sprintf("status %d", f.status)
	case f == tooLarge:
		return "too large"
	case f == timesOut:
		return "timed out"
	case f.is(stalls):
		return "stalled"
	case f.class == ofWire && c.stage == accepting:
		return "could not connect"
	case f.class == ofWire && c.stage <= inHeaders:
		return "no usable answer"
	}
	return "broke off"
}

// options is the handler that a case has for itself.
func (c downloadCase) options() string {
	retries := 0
	if c.way == goingOn {
		retries = 1
	}
	if c.trouble.passes {
		retries = 3
	}
	limits := []string{fmt.Sprintf("retries %d", retries), fmt.Sprintf("max_size %dB", caseMaxSize)}
	if c.trouble.is(stalls) {
		limits = append(limits, "stall_timeout 2s")
	}
	if c.trouble == timesOut {
		limits = append(limits, "timeout 4s")
	}
	if c.stage == queued {
		limits = append(limits, "max_concurrent 1")
	}
	cache := ""
	if strings.HasPrefix(c.trouble.name, "the shared storage") {
		cache = "cache {\n share\n}"
	}
	return fmt.Sprintf("onebot_meta {\n route %s\n name %s\n%s\n%s\n}\n", c.route(), c.bot(), download(limits...), cache)
}

// caseSite is a site with the handlers of cases.
func caseSite(edition string, cases []downloadCase) string {
	handlers := make(map[string]string)
	for _, c := range cases {
		handlers[c.group()] += c.options()
	}
	return groupedSite(edition, handlers)
}

// groupedSite is a site with handlers by what their paths begin with.
func groupedSite(edition string, handlers map[string]string) string {
	var b strings.Builder
	for _, group := range slices.Sorted(maps.Keys(handlers)) {
		fmt.Fprintf(&b, "handle %s/* {\n%s}\n", group, handlers[group])
	}
	return fmt.Sprintf("http://<SITE> {\n header X-Edition %q\n%srespond \"next\"\n}\n", edition, b.String())
}

// check fails the test if something else came of a call.
func (o upshot) check(t testing.TB, a answer, want string) {
	t.Helper()
	switch {
	case a.err != nil:
		if !o.end {
			t.Errorf("there was no answer: %v", a.err)
		}
	case a.status == "ok" && o.file:
		path := a.file(t)
		if _, err := os.Stat(path); o.gone && err != nil {
			return
		}
		wantContent(t, path, want)
	case a.status == "ok" || !o.failure:
		t.Errorf("it is answered by %s", a.body)
	default:
		if a.wantFailed(t); !strings.Contains(a.message, o.why) {
			t.Errorf("message is %q, want it to say %q", a.message, o.why)
		}
	}
}
