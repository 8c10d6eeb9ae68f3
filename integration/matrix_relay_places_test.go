package integration

import (
	"fmt"
)

// carrier is how a call or an event gets from one side to the other.
type carrier string

const (
	byCall    carrier = "an HTTP call"
	byPost    carrier = "an event post"
	bySocket  carrier = "a WebSocket"
	byReverse carrier = "a reverse WebSocket"
)

func (c carrier) http() bool { return c == byCall || c == byPost }

// passage is how far what is handed on has come. The client is who connects to
// Caddy, and the backend who Caddy connects to.
type passage int

const (
	inRequestHead  passage = iota // or in the handshake
	inRequestBody                 // which the client sends
	beforeAnswer                  // the backend has the whole request
	inAnswerHead                  // or in what the backend says to the handshake
	inAnswerBody                  //
	betweenPackets                // a WebSocket is open, and an event has passed
	unanswered                    // a call has passed, and no answer
	inMessage                     // half a message has come from behind
	inFragments                   // one of the fragments of a message has come from the client
	heldBack                      // half a call has come, which does not tell yet whose it is
	closingDown                   // the app has said goodbye
)

var passageNames = [...]string{
	"in the head of the request", "in the body of the request", "before the answer", "in the head of the answer", "in the body of the answer",
	"between messages", "with a call unanswered", "in a message", "between fragments", "in a message that is held back", "in the closing handshake",
}

func (p passage) String() string { return passageNames[p] }

// mishap is what goes wrong with a side.
type mishap string

const (
	clientResets mishap = "the client resets"
	clientCloses mishap = "the client closes"
	clientIdles  mishap = "the client stops reading"
	backResets   mishap = "the backend resets"
	backCloses   mishap = "the backend closes"
	backHangs    mishap = "the backend hangs for a while"
	backGarbage  mishap = "the backend sends garbage"
	backGone     mishap = "nobody listens any more"
	oversized    mishap = "it is larger than max_body"
	wrongToken   mishap = "a wrong token"
	underReload  mishap = "a reload"
	underStop    mishap = "SIGTERM"
)

var mishaps = []mishap{
	clientResets, clientCloses, clientIdles, backResets, backCloses, backHangs, backGarbage, backGone, oversized, wrongToken, underReload, underStop,
}

// byBackend reports whether the backend does it on a connection that it has.
func (m mishap) byBackend() bool { return among(m, backResets, backCloses, backHangs, backGarbage) }

// ofCaddy reports whether it comes to all connections at once.
func (m mishap) ofCaddy() bool { return m == underReload || m == underStop }

// goesOn reports whether what is under way must come through all the same.
func (m mishap) goesOn() bool { return among(m, backHangs, oversized) }

// relayCase is a mishap in the middle of what is handed on.
type relayCase struct {
	by   carrier
	at   passage
	what mishap
	n    int    // that no other case has
	addr string // of its backend
}

func (c relayCase) String() string { return fmt.Sprintf("%s/%s/%s", c.by, c.at, c.what) }
func (c relayCase) bot() string    { return fmt.Sprintf("relay%d", c.n) }
func (c relayCase) group() string  { return fmt.Sprintf("/group%d", c.n%groups) }
func (c relayCase) route() string  { return c.group() + "/" + c.bot() }

func relayCases() (all []relayCase) {
	for _, what := range mishaps {
		for _, by := range []carrier{byCall, byPost, bySocket, byReverse} {
			for at := range passageNames {
				all = append(all, relayCase{by: by, at: passage(at), what: what, n: len(all)})
			}
		}
	}
	return all
}

var relayRules = []rule[relayCase]{
	{"there are no messages in HTTP", func(c relayCase) bool { return c.by.http() && c.at >= betweenPackets }},
	{"a handshake has no body, and its answer has none", func(c relayCase) bool {
		return !c.by.http() && among(c.at, inRequestBody, inAnswerBody)
	}},
	{"the backend knows nothing of it yet", func(c relayCase) bool {
		return c.what.byBackend() && (c.at == inRequestHead || c.at == inRequestBody && c.by == byPost)
	}},
	{"the head of the request has the token", func(c relayCase) bool { return c.what == wrongToken && c.at != inRequestHead }},
	{"who is connected needs no listener", func(c relayCase) bool {
		return c.what == backGone && c.at != inRequestHead && (c.at != inRequestBody || c.by != byPost)
	}},
	{"only a body and a message that is held have a bound", func(c relayCase) bool {
		return c.what == oversized && !among(c.at, inRequestBody, heldBack)
	}},
	{"only who is sent something can stop reading it", func(c relayCase) bool {
		return c.what == clientIdles && !among(c.at, inAnswerBody, inMessage)
	}},
	{"bytes in a message that is not over are the message", func(c relayCase) bool {
		return c.what == backGarbage && (c.at == inMessage || c.at == heldBack && c.by == byReverse)
	}},
}

// relaySite is a site with the handlers of cases, each before a backend.
func relaySite(edition string, cases []relayCase) string {
	handlers := make(map[string]string)
	for _, c := range cases {
		handlers[c.group()] += fmt.Sprintf("handle %s* {\n onebot_meta {\n pass_thru\n route %[1]s\n name %s\n max_body 64KiB\n access_token right-token\n}\nreverse_proxy %s\n}\n",
			c.route(), c.bot(), c.addr)
	}
	return groupedSite(edition, handlers)
}

// counts is what the counters must be of a case, from what has passed before and
// from what became of the rest. Whatever is not whole is no packet.
func (c relayCase) counts() stat {
	s := stat{"PacketReceived": 0, "PacketSent": 0, "PacketLost": 0}
	add := func(name string) { s["PacketReceived"]++; s[name]++ }
	if c.by.http() {
		switch {
		case c.what == wrongToken: // which counts nowhere
		case c.at == inRequestHead && among(c.what, clientResets, clientCloses):
		case c.what.goesOn(), c.what.ofCaddy():
			add("PacketSent")
		default:
			add("PacketLost")
		}
		return s
	}
	through := c.what.goesOn()
	if c.at < betweenPackets && !through {
		return s
	}
	add("PacketSent") // the event with which a connection begins
	switch c.at {
	case unanswered:
		if through {
			add("PacketSent")
		} else {
			add("PacketLost")
		}
	case inMessage, inFragments, heldBack:
		if isEvent := (c.at == inMessage) == (c.by == bySocket); through && isEvent && c.at != heldBack {
			add("PacketSent")
		} else if through { // a call that is not answered before the end
			add("PacketLost")
		}
	}
	return s
}
