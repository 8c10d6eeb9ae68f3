// Package meta implements the meta actions of OneBot v11 as go-cqhttp answers
// them: status, version, life cycle, download. It knows nothing of the
// transport a call came by; see package caddymodule for HTTP.
package meta

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
)

// The retcodes of an envelope. Zero is success and one is "accepted"; the
// others follow OneBot v11, which adds 1000 to the HTTP status that says the
// same.
const (
	RetcodeOK           = 0
	RetcodeAsync        = 1
	RetcodeBadRequest   = 1400
	RetcodeUnauthorized = 1401
	RetcodeForbidden    = 1403
	RetcodeNotFound     = 1404
)

// Call is one call of an action.
type Call struct {
	// Action is the name as the caller sent it, with any suffix.
	Action string

	Params Params

	// Echo is returned byte for byte in the reply. It is one JSON value, or
	// nil if the caller sent none.
	Echo json.RawMessage

	// FileURL returns the URL at which the caller can fetch a file that is in
	// the cache, by its name. It is nil if files are not served.
	FileURL func(name string) string

	// Ask asks the implementation behind. It is nil if there is none: then
	// this is the whole of it.
	Ask Ask

	unanswered bool // its reply goes to nobody
}

// Ask prepares to call an action, without parameters, of the implementation
// that a caller thinks it speaks to. What it returns makes the call, perhaps
// when the caller is gone, and returns the envelope that answers it.
type Ask func(action string) func(ctx context.Context) (envelope []byte, err error)

// Reply is the answer to a call: the envelope that every action of OneBot v11
// is answered with.
type Reply struct {
	Status  string
	Retcode int

	// Data is one JSON value; nil stands for null.
	Data json.RawMessage

	// Message says in English why the call failed, Wording says the same in
	// Chinese. Both are empty unless Status is "failed".
	Message, Wording string

	Echo json.RawMessage
}

// Failure is the reply to a call that failed with err. An err that is not an
// [*Error] is a fault of ours, and its text is kept from the caller.
func Failure(err error, echo json.RawMessage) *Reply {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = errInternal
	}
	return &Reply{
		Status:  "failed",
		Retcode: e.Retcode,
		Message: e.Message,
		Wording: e.Wording,
		Echo:    echo,
	}
}

// JSON returns the envelope as one JSON object.
func (r *Reply) JSON() []byte { return r.AppendJSON(nil) }

// AppendJSON appends the envelope as one JSON object. It is written by hand
// because encoding/json would compact and escape the echo.
func (r *Reply) AppendJSON(b []byte) []byte {
	const frame = `{"status":"failed","retcode":1400,"data":null,"message":"","wording":"","echo":}`
	b = slices.Grow(b, len(frame)+len(r.Data)+len(r.Message)+len(r.Wording)+len(r.Echo))
	b = append(b, `{"status":"`...)
	b = append(b, r.Status...)
	b = append(b, `","retcode":`...)
	b = strconv.AppendInt(b, int64(r.Retcode), 10)
	b = append(b, `,"data":`...)
	if r.Data == nil {
		b = append(b, `null`...)
	} else {
		b = append(b, r.Data...)
	}
	if r.Status == "failed" {
		b = append(b, `,"message":`...)
		b = append(b, quote(r.Message)...)
		b = append(b, `,"wording":`...)
		b = append(b, quote(r.Wording)...)
	}
	if r.Echo != nil {
		b = append(b, `,"echo":`...)
		b = append(b, r.Echo...)
	}
	return append(b, '}')
}

// marshal is json.Marshal for data that goes to bots, not into HTML: & < and >
// stay as they are.
func marshal(v any) (json.RawMessage, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// quote returns s as a JSON string; bytes that are not UTF-8 become U+FFFD.
func quote(s string) json.RawMessage {
	b, err := marshal(s)
	if err != nil { // encoding a string cannot fail
		panic(err)
	}
	return b
}
