package integration

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// advance brings the case to the place where the mishap comes.
func (e *encounter) advance() {
	e.t.Helper()
	var err error
	if e.client, err = net.Dial("tcp", e.caddy.addr); err != nil {
		e.t.Fatal(err)
	}
	e.answer = bufio.NewReader(e.client)
	for p := inRequestHead; p <= e.at; p++ {
		e.step(p)
	}
}

// step goes on from the place before to p. Each step sends the first half of
// what its place is in, and the next one the rest.
func (e *encounter) step(p passage) {
	e.t.Helper()
	head, body := e.request()
	if p >= betweenPackets && e.by.http() || among(p, inRequestBody, inAnswerBody) && !e.by.http() {
		return
	}
	switch p {
	case inRequestHead:
		e.tell(head[:len(head)/2])
	case inRequestBody:
		e.tell(head[len(head)/2:] + body[:len(body)/2])
		if e.by == byCall { // what posts an event may still be a call of ours
			e.arrive()
		}
	case beforeAnswer:
		if e.by.http() {
			e.tell(body[len(body)/2:])
		} else {
			e.tell(head[len(head)/2:])
		}
		e.arrive()
		if got := e.back.take(e.t, len(body)); got != body {
			e.t.Errorf("of %d bytes %d others came to the backend", len(body), len(got))
		}
	case inAnswerHead:
		e.back.say(e.t, e.answerStart()[:inStatusCode])
	case inAnswerBody:
		first, _ := answerChunks()
		e.back.say(e.t, e.answerStart()[inStatusCode:]+first)
		e.readHead(http.StatusOK)
		e.read(relayAnswer[:len(relayAnswer)/2])
	case betweenPackets:
		e.back.say(e.t, e.answerStart()[inStatusCode:])
		e.readHead(http.StatusSwitchingProtocols)
		e.cw = &wire{Closer: e.client, conn: e.client, t: e.t, w: e.client, r: e.answer, client: true}
		e.bw = &wire{Closer: e.back.conn, conn: e.back.conn, t: e.t, w: e.back.conn, r: e.back.r}
		e.botEnd().send(piece{wholeText, message("hi")})
		e.appEnd().want(piece{wholeText, message("hi")})
	default:
		if p == e.at {
			e.say(p)
		}
	}
}

// arrive waits until the request is at the backend.
func (e *encounter) arrive() {
	e.t.Helper()
	if e.back == nil {
		e.back = receive(e.t, e.came, "the request at the backend")
	}
}

// inStatusCode is where the head of an answer is cut.
const inStatusCode = len("HTTP/1.1 2")

// answerStart is the head of the answer.
func (e *encounter) answerStart() string {
	if e.by.http() {
		return answerHead
	}
	return switching(e.back.head)
}

// readHead has the client read the head of the answer.
func (e *encounter) readHead(status int) {
	e.t.Helper()
	if !e.tryHead() || e.resp.StatusCode != status {
		e.t.Fatalf("it is answered by %+v, want %d", e.resp, status)
	}
}

func (e *encounter) tryHead() bool {
	var err error
	e.resp, err = http.ReadResponse(e.answer, &http.Request{Method: "POST"})
	return err == nil
}

// read has the client read what comes next of the body.
func (e *encounter) read(want string) {
	e.t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(e.resp.Body, got); err != nil || string(got) != want {
		e.t.Fatalf("of the answer came %q: %v, want %q", got[:n], err, want)
	}
}

var (
	relayCall = calling("send_private_msg", "7", `"params":{"message":"`+filler(2000)+`"}`)
	lateCall  = func(n int) string {
		return `{"params":{"message":"` + filler(n) + `"},"echo":7,"action":"send_private_msg"}`
	}
	largeMessage = message(filler(20_000))
)

// say begins what is under way on a WebSocket at some place.
func (e *encounter) say(p passage) {
	e.t.Helper()
	half := func(w *wire, text string) {
		frame := piece{wholeText, text}.encode(w.client)
		w.write(frame[:len(frame)/2])
		e.rest = string(frame[len(frame)/2:])
	}
	switch p {
	case unanswered:
		e.appEnd().send(piece{wholeText, relayCall})
		e.botEnd().want(piece{wholeText, relayCall})
	case inMessage:
		if e.what == clientIdles { // it is as long as it takes
			e.bw.write(header(wholeBinary, false, 1<<40))
			return
		}
		half(e.bw, e.underWay())
	case inFragments:
		text := e.underWay()
		e.cw.send(piece{opText, text[:len(text)/2]})
	case heldBack:
		half(e.appEnd(), e.underWay())
	case closingDown:
		e.appEnd().send(piece{fin | opClose, closing(1000, "")})
		e.botEnd().want(piece{fin | opClose, closing(1000, "")})
	}
}

// underWay is the message that the place of the case is in.
func (e *encounter) underWay() string {
	fromApp := (e.at == inMessage) == (e.by == byReverse)
	switch {
	case e.at == heldBack && e.what == oversized:
		return lateCall(100_000)
	case e.at == heldBack:
		return lateCall(2000)
	case fromApp:
		return relayCall
	}
	return largeMessage
}

// goOn ends well what is under way.
func (e *encounter) goOn() {
	e.t.Helper()
	if e.by.http() || e.at < betweenPackets {
		end := inAnswerBody
		if !e.by.http() {
			end = betweenPackets
		}
		for p := e.at + 1; p <= end; p++ {
			e.step(p)
		}
		if e.by.http() {
			_, second := answerChunks()
			e.back.say(e.t, second)
			e.read(relayAnswer[len(relayAnswer)/2:])
			if n, err := e.resp.Body.Read(make([]byte, 1)); n > 0 || err != io.EOF {
				e.t.Errorf("the answer ends with %d, %v", n, err)
			}
		}
		return
	}
	text := e.underWay()
	switch e.at {
	case unanswered:
		reply := `{"status":"ok","retcode":0,"data":null,"echo":7}`
		e.botEnd().send(piece{wholeText, reply})
		e.appEnd().want(piece{wholeText, reply})
	case inMessage:
		e.bw.write([]byte(e.rest))
		e.cw.want(piece{wholeText, text})
	case inFragments:
		e.cw.send(piece{lastPart, text[len(text)/2:]})
		e.bw.want(piece{opText, text[:len(text)/2]}, piece{lastPart, text[len(text)/2:]})
	case heldBack:
		e.appEnd().write([]byte(e.rest))
		e.botEnd().want(piece{wholeText, text})
	case closingDown:
		e.botEnd().send(piece{fin | opClose, closing(1000, "")})
		e.appEnd().want(piece{fin | opClose, closing(1000, "")})
	}
}

// mayGoOn is goOn for what may also be ended instead.
func (e *encounter) mayGoOn() {
	e.t.Helper()
	head, body := e.request()
	var err error
	if e.at == inRequestHead {
		_, err = io.WriteString(e.client, head[len(head)/2:]+body)
		arrived := make(chan struct{})
		go func() { // the client is answered, or told that it is over
			defer close(arrived)
			_, _ = e.answer.Peek(1)
		}()
		if err == nil {
			select {
			case e.back = <-e.came:
			case <-arrived:
				return
			}
		}
	}
	if e.back == nil || err != nil {
		return
	}
	e.took = true
	_ = e.back.take(e.t, len(body))
	said := e.answerStart()
	if e.at == inAnswerHead {
		said = said[inStatusCode:]
	}
	if e.by.http() {
		first, second := answerChunks()
		said += first + second
	}
	_, _ = io.WriteString(e.back.conn, said)
	if !e.by.http() {
		return // it is closed at the latest when this test hangs up
	}
	e.readHead(http.StatusOK)
	e.read(relayAnswer)
}
