package integration

import (
	"fmt"
	"slices"
	"strings"
)

// The places of a download where something may go wrong: the kind of the file,
// the way to it, and how far that has come.
type (
	kind  string
	way   string
	stage int
)

const (
	known    kind = "a file of known length"
	empty    kind = "an empty file"
	inChunks kind = "a file in chunks"

	directly      way = "directly"
	afterRedirect way = "behind a redirect"
	goingOn       way = "resumed"
	askedAgain    way = "revalidated"
)

const (
	accepting   stage = iota // before the connection is accepted
	handshaking              // the origin has the first message of TLS
	requested                // it has the request, and sent no byte
	inStatus
	inHeaders
	afterHead
	inBody
	lastByte   // all but that was sent
	chunksEnd  // the whole body was sent, but not that it ends
	queued     // the download waits for its turn
	joining    // a second caller has joined it in the body
	committing // while the last of it comes and the file is put into its place
)

var stageNames = [...]string{
	"before the connection is accepted", "in the TLS handshake", "before the answer", "in the status line", "in the headers",
	"after the headers", "in the body", "before the last byte", "before the end of the chunks",
	"waiting for its turn", "joined by another caller", "while the file is committed",
}

func (s stage) String() string { return stageNames[s] }

// class is who or what is in trouble.
type class int

const (
	ofWire    class = iota // the connection to the origin
	ofAnswer               // what the origin answers
	ofCallers              // those who called
	ofProcess              // Caddy itself, and so all that it does
	ofDisk                 // the directory of the cache
)

// trouble is what goes wrong.
type trouble struct {
	name   string
	class  class
	status int  // that the origin answers, of some
	passes bool // what comes next finds all well
}

var (
	resets     = trouble{name: "a reset", class: ofWire}
	closes     = trouble{name: "an orderly close", class: ofWire}
	stalls     = trouble{name: "a stall", class: ofWire}
	timesOut   = trouble{name: "the time is over", class: ofWire}
	garbage    = trouble{name: "garbage", class: ofWire}
	tooLong    = trouble{name: "a length that is too long", class: ofAnswer}
	tooShort   = trouble{name: "a length that is too short", class: ofAnswer}
	wrongRange = trouble{name: "another range", class: ofAnswer}
	newVersion = trouble{name: "a new version", class: ofAnswer}
	tooLarge   = trouble{name: "more than max_size", class: ofAnswer}
	allLeave   = trouble{name: "all callers leave", class: ofCallers}
	oneLeaves  = trouble{name: "one of the callers leaves", class: ofCallers}
	unwritable = trouble{name: "the directory cannot be written", class: ofDisk}
	deleted    = trouble{name: "the directory is deleted", class: ofDisk}
	reloads    = trouble{name: "a reload", class: ofProcess}
	forgets    = trouble{name: "a reload without the name", class: ofProcess}
	stops      = trouble{name: "SIGTERM", class: ofProcess}
	stopsSoon  = trouble{name: "SIGTERM with a short grace period", class: ofProcess}
	dies       = trouble{name: "SIGKILL", class: ofProcess}
)

// once is a trouble that passes.
func once(f trouble) trouble {
	f.name, f.passes = f.name+", once", true
	return f
}

// is reports whether two troubles are the same, whether they pass or not.
func (f trouble) is(other trouble) bool {
	return strings.TrimSuffix(f.name, ", once") == strings.TrimSuffix(other.name, ", once")
}

func downloadTroubles() []trouble {
	all := slices.Concat([]trouble{timesOut, newVersion, tooLarge, wrongRange, allLeave, oneLeaves, unwritable, deleted}, processTroubles())
	mayPass := []trouble{resets, closes, stalls, garbage, tooLong, tooShort}
	for _, code := range []int{404, 416, 500, 503} { // 503 with Retry-After
		mayPass = append(mayPass, trouble{name: fmt.Sprintf("status %d", code), class: ofAnswer, status: code})
	}
	for _, f := range mayPass {
		all = append(all, f, once(f))
	}
	return all
}

// downloadCase is a trouble at a place of a download.
type downloadCase struct {
	kind    kind
	way     way
	stage   stage
	trouble trouble
	n       int // that no other case has
}

func (c downloadCase) String() string {
	return fmt.Sprintf("%s %s/%s/%s", c.kind, c.way, c.stage, c.trouble.name)
}

// bot is the name of the handler that the case has for itself, and route where
// that is: in groups, for Caddy looks at one after the other.
func (c downloadCase) bot() string   { return fmt.Sprintf("case%d", c.n) }
func (c downloadCase) group() string { return fmt.Sprintf("/group%d", c.n%groups) }
func (c downloadCase) route() string { return c.group() + "/" + c.bot() }

const groups = 25

func downloadCases() (all []downloadCase) {
	for _, f := range downloadTroubles() {
		for _, k := range []kind{known, empty, inChunks} {
			for _, w := range []way{directly, afterRedirect, goingOn, askedAgain} {
				for s := range stageNames {
					all = append(all, downloadCase{k, w, stage(s), f, len(all)})
				}
			}
		}
	}
	return all
}

// among reports whether a value is one of some.
func among[T comparable](value T, some ...T) bool { return slices.Contains(some, value) }

var downloadRules = []rule[downloadCase]{
	{"nothing tells yet of what kind the file is", func(c downloadCase) bool {
		return c.kind != known && (c.stage <= inStatus || c.stage == queued)
	}},
	{"an empty file has no middle and no last byte", func(c downloadCase) bool {
		return c.kind == empty && among(c.stage, inBody, lastByte, joining)
	}},
	{"only chunks have an end of their own", func(c downloadCase) bool { return c.stage == chunksEnd && c.kind != inChunks }},
	{"there is nothing of an empty file to go on with", func(c downloadCase) bool { return c.kind == empty && c.way == goingOn }},
	{"a 304 ends with its head", func(c downloadCase) bool { return c.way == askedAgain && c.stage >= afterHead && c.stage < queued }},
	{"an empty file is whole with its head", func(c downloadCase) bool {
		return c.kind == empty && c.stage == afterHead && c.trouble.class >= ofCallers
	}},
	{"which way the origin is reached has no part in it", func(c downloadCase) bool {
		return c.stage >= queued && c.way != directly && (c.way != goingOn || c.stage == queued)
	}},
	{"a redirect that was followed has no part in it", func(c downloadCase) bool {
		return c.way == afterRedirect && c.trouble.class == ofProcess
	}},
	{"the origin is not asked before its turn", func(c downloadCase) bool { return c.stage == queued && c.trouble.class <= ofAnswer }},
	{"the origin has said all that it has to say", func(c downloadCase) bool { return c.stage == committing && c.trouble.class <= ofAnswer }},
	{"on a connection that nobody accepted nothing is said", func(c downloadCase) bool {
		return c.stage == accepting && (c.trouble.is(closes) || c.trouble.is(garbage))
	}},
	{"nobody sees that a connection was refused, to undo it in time", func(c downloadCase) bool {
		return c.stage == accepting && c.trouble.class == ofWire && c.trouble.passes
	}},
	{"bytes in a body of known length are the file", func(c downloadCase) bool {
		return c.trouble.is(garbage) && c.kind == known && (c.stage >= afterHead && c.stage <= lastByte || c.stage == joining)
	}},
	{"a status takes the place of the answer", func(c downloadCase) bool { return c.trouble.status != 0 && c.stage != requested }},
	{"it is the headers that say it", func(c downloadCase) bool {
		return c.trouble.class == ofAnswer && c.trouble.status == 0 && c.stage != inHeaders
	}},
	{"only bodies of known length have one to be wrong", func(c downloadCase) bool {
		return (c.trouble.is(tooLong) || c.trouble.is(tooShort)) && (c.kind == inChunks || c.way == askedAgain)
	}},
	{"nothing is shorter than nothing", func(c downloadCase) bool { return c.trouble.is(tooShort) && c.kind == empty }},
	{"only who goes on asks for a range", func(c downloadCase) bool { return c.trouble == wrongRange && c.way != goingOn }},
	{"only who has a version can find a new one", func(c downloadCase) bool {
		return c.trouble == newVersion && !among(c.way, goingOn, askedAgain)
	}},
	{"what is empty is not too large", func(c downloadCase) bool { return c.trouble == tooLarge && c.kind == empty }},
}
