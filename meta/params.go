package meta

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Params are the parameters of a call: JSON values by name. Where a caller
// could only send text, in a URL's query or a form, the values are JSON
// strings, and an array of them where a name was repeated.
type Params map[string]json.RawMessage

var errNotObject = BadRequest("the body must be a JSON object", "请求体必须是 JSON 对象")

// ParseObject reads a JSON object. Nothing at all and null are an empty
// object: some clients send these. Of a name that occurs twice the last value
// counts.
func ParseObject(data []byte) (Params, error) {
	// A byte order mark is what some Windows editors put before a file.
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\uFEFF")))
	if len(data) == 0 {
		return Params{}, nil
	}
	if !utf8.Valid(data) {
		return nil, BadRequest("the body is not UTF-8", "请求体不是 UTF-8 编码")
	}
	var p Params
	err := json.Unmarshal(data, &p) // refuses what is nested over 10,000 deep
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return nil, BadRequest(
			fmt.Sprintf("the body is not valid JSON (at byte %d)", e.Offset),
			fmt.Sprintf("请求体不是有效的 JSON（第 %d 字节）", e.Offset))
	}
	if err != nil {
		return nil, errNotObject
	}
	if p == nil {
		p = Params{}
	}
	return p, nil
}

// ParseForm reads a urlencoded form, which is also the syntax of a URL's query.
func ParseForm(form string) (Params, error) {
	// net/url refuses a bare semicolon, which URLs pasted into a query have.
	values, err := url.ParseQuery(strings.ReplaceAll(form, ";", "%3B"))
	if err != nil {
		// err may quote what was sent, so it stays here
		return nil, BadRequest("the query or form is not urlencoded", "查询串或表单不是有效的 urlencoded 格式")
	}
	p := make(Params, len(values))
	for name, vs := range values {
		// A URL in GBK would otherwise become another URL. The comma keeps two
		// halves of a character apart.
		if !utf8.ValidString(name + "," + strings.Join(vs, ",")) {
			return nil, BadRequest("the query or form is not UTF-8", "查询串或表单不是 UTF-8 编码")
		}
		if len(vs) == 1 {
			p[name] = quote(vs[0])
			continue
		}
		if p[name], err = marshal(vs); err != nil {
			return nil, fmt.Errorf("encoding form values: %w", err)
		}
	}
	return p, nil
}

// ParamsCall makes a call of action out of its parameters. An echo among them
// is not a parameter.
func ParamsCall(action string, params Params) *Call {
	call := &Call{Action: action, Params: params, Echo: params["echo"]}
	delete(params, "echo")
	return call
}

// EnvelopeCall makes a call out of an object with action, params and echo.
// What else is in the object is a parameter that params may override, as it is
// when it comes from a URL's query. An error leaves the call its action.
func EnvelopeCall(envelope Params) (*Call, error) {
	call := ParamsCall("", envelope)
	// An action that is not a string is no action there is.
	if json.Unmarshal(envelope["action"], &call.Action) != nil {
		call.Action = strings.TrimSpace(string(envelope["action"]))
	}
	inner, err := ParseObject(envelope["params"])
	if err != nil {
		return call, BadRequest("params must be a JSON object", "params 必须是 JSON 对象")
	}
	delete(envelope, "action")
	delete(envelope, "params")
	maps.Copy(envelope, inner)
	return call, nil
}

// text returns the string called name, and "" if it is missing or null.
func (p Params) text(name string) (string, error) {
	var s string
	if raw, ok := p[name]; ok && json.Unmarshal(raw, &s) != nil {
		return "", BadRequest(name+" must be a string", name+" 必须是字符串")
	}
	return s, nil
}

// lines returns the strings called name: the items of an array, or the lines
// of a string.
func (p Params) lines(name string) ([]string, error) {
	raw, ok := p[name]
	if !ok {
		return nil, nil
	}
	var items []string
	if json.Unmarshal(raw, &items) == nil {
		return items, nil
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return nil, BadRequest(name+" must be a string or an array of strings", name+" 必须是字符串或字符串数组")
	}
	return strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n"), nil
}
