package packet

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
)

// EchoKey returns a text that is the same for all ways to write a JSON value,
// as an implementation may send an echo back with other white space, escapes,
// notation of numbers and order of names. It is "" for no echo and for null.
func EchoKey(echo json.RawMessage) string {
	echo = bytes.Trim(echo, " \t\r\n")
	if len(echo) == 0 || string(echo) == "null" {
		return ""
	}
	if isCanonical(echo) {
		return string(echo)
	}
	d := json.NewDecoder(bytes.NewReader(echo))
	d.UseNumber() // a float64 would lose digits
	var v any
	if d.Decode(&v) != nil {
		return string(echo)
	}
	if _, err := d.Token(); err != io.EOF {
		return string(echo)
	}
	b, err := json.Marshal(canonical(v))
	if err != nil {
		return string(echo)
	}
	return string(b)
}

// isCanonical reports whether echo is what EchoKey would make of it. It knows
// only the usual ones: short integers, and strings of ASCII without escapes.
func isCanonical(echo []byte) bool {
	if n := len(echo); n >= 2 && echo[0] == '"' && echo[n-1] == '"' {
		return !slices.ContainsFunc(echo[1:n-1], func(c byte) bool {
			return c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&'
		})
	}
	digits := bytes.TrimPrefix(echo, []byte("-"))
	return len(digits) > 0 && len(digits) <= maxDigits && '1' <= digits[0] && digits[0] <= '9' &&
		!slices.ContainsFunc(digits, func(c byte) bool { return !isDigit(c) })
}

// canonical returns v with all numbers in it in one notation.
func canonical(v any) any {
	switch v := v.(type) {
	case json.Number:
		return canonicalNumber(v)
	case []any:
		for i := range v {
			v[i] = canonical(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = canonical(v[k])
		}
	}
	return v
}

// maxDigits is how long a number may be to be written without an exponent.
const maxDigits = 32

// canonicalNumber returns n as an integer if it is a short one, and otherwise
// as an integer without zeros at the end, with an exponent. Of an exponent
// that no machine understands, n remains as it is.
func canonicalNumber(n json.Number) json.Number {
	digits, exp, _ := strings.Cut(strings.ToLower(string(n)), "e")
	digits, negative := strings.CutPrefix(digits, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	digits = strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return "0" // and so is -0, as it is in JavaScript
	}
	e := 0
	if exp != "" {
		var err error
		if e, err = strconv.Atoi(exp); err != nil || e > 1<<30 || e < -1<<30 {
			return n
		}
	}
	e -= len(fraction)
	short := strings.TrimRight(digits, "0")
	e += len(digits) - len(short)
	if e >= 0 && len(short)+e <= maxDigits {
		short += strings.Repeat("0", e)
		e = 0
	}
	if e != 0 {
		short += "e" + strconv.Itoa(e)
	}
	if negative {
		short = "-" + short
	}
	return json.Number(short)
}
