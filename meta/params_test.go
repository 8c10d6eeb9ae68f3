package meta

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseObject(t *testing.T) {
	for name, tt := range map[string]struct {
		body    string
		want    Params
		wantErr string
	}{
		"nothing":               {"", Params{}, ""},
		"white space":           {" \r\n", Params{}, ""},
		"null":                  {"null", Params{}, ""},
		"object":                {`{"a":1,"b":"x"}`, Params{"a": raw(`1`), "b": raw(`"x"`)}, ""},
		"byte order mark":       {"\uFEFF{}", Params{}, ""},
		"last of a name counts": {`{"a":1,"a":2}`, Params{"a": raw(`2`)}, ""},
		"names keep their case": {`{"A":1,"a":2}`, Params{"A": raw(`1`), "a": raw(`2`)}, ""},
		"array":                 {`[]`, nil, "the body must be a JSON object"},
		"string":                {`"x"`, nil, "the body must be a JSON object"},
		"half an object":        {`{"a":`, nil, "the body is not valid JSON (at byte 5)"},
		"two objects":           {`{} {}`, nil, "the body is not valid JSON (at byte 4)"},
		"not UTF-8":             {"{\"a\":\"\xff\"}", nil, "the body is not UTF-8"},
		"nested too deep":       {strings.Repeat(`{"a":`, 100_000), nil, "the body is not valid JSON (at byte 50001)"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseObject([]byte(tt.body))
			checkError(t, err, tt.wantErr)
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestParseForm(t *testing.T) {
	for name, tt := range map[string]struct {
		form    string
		want    Params
		wantErr string
	}{
		"nothing":                       {"", Params{}, ""},
		"values are strings":            {"a=1&b=%E4%B8%AD+%26", Params{"a": raw(`"1"`), "b": raw(`"中 &"`)}, ""},
		"a repeated name is an array":   {"a=1&a=2", Params{"a": raw(`["1","2"]`)}, ""},
		"a semicolon is as good as %3B": {"url=http://h/a;b", Params{"url": raw(`"http://h/a;b"`)}, ""},
		"not UTF-8":                     {"a=%D6%D0", nil, "the query or form is not UTF-8"},
		"a name that is not UTF-8":      {"%D6=a", nil, "the query or form is not UTF-8"},
		"a character in two halves":     {"a=%C3&a=%A9", nil, "the query or form is not UTF-8"},
		"bad escape":                    {"a=%zz", nil, "the query or form is not urlencoded"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseForm(tt.form)
			checkError(t, err, tt.wantErr)
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestEnvelopeCall(t *testing.T) {
	for name, tt := range map[string]struct {
		envelope string
		want     Call
		wantErr  string
	}{
		"action, params and echo": {
			`{"action":"a","params":{"x":1},"echo":[2]}`,
			Call{Action: "a", Params: Params{"x": raw(`1`)}, Echo: raw(`[2]`)}, "",
		},
		"params of null":                      {`{"action":"a","params":null}`, Call{Action: "a", Params: Params{}}, ""},
		"no params":                           {`{"action":"a"}`, Call{Action: "a", Params: Params{}}, ""},
		"no action":                           {`{}`, Call{Action: "", Params: Params{}}, ""},
		"an action of null":                   {`{"action":null}`, Call{Action: "", Params: Params{}}, ""},
		"an action of a number":               {`{"action":5}`, Call{Action: "5", Params: Params{}}, ""},
		"params beside the call":              {`{"action":"a","x":1,"params":{"y":2}}`, Call{Action: "a", Params: Params{"x": raw(`1`), "y": raw(`2`)}}, ""},
		"params win over others":              {`{"action":"a","x":1,"params":{"x":2}}`, Call{Action: "a", Params: Params{"x": raw(`2`)}}, ""},
		"an echo among params is a parameter": {`{"action":"a","params":{"echo":2}}`, Call{Action: "a", Params: Params{"echo": raw(`2`)}}, ""},
		"params of an array":                  {`{"action":"a","params":[1],"echo":3}`, Call{Action: "a", Params: Params{}, Echo: raw(`3`)}, "params must be a JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			envelope, err := ParseObject([]byte(tt.envelope))
			if err != nil {
				t.Fatal(err)
			}
			got, err := EnvelopeCall(envelope)
			checkError(t, err, tt.wantErr)
			if err != nil {
				got.Params = Params{} // they do not matter then
			}
			if !reflect.DeepEqual(*got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestTextAndLinesRefuseOtherTypes(t *testing.T) {
	p, err := ParseObject([]byte(`{"s":"x","n":5,"a":["p","q"],"m":[1],"o":{},"null":null,"lines":"A: 1\r\nB: 2\nC: 3"}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"s": "x", "null": "", "missing": ""} {
		if got, err := p.text(name); err != nil || got != want {
			t.Errorf("text(%s) = %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"n", "a", "o"} {
		_, err := p.text(name)
		checkError(t, err, name+" must be a string")
	}
	for name, want := range map[string][]string{
		"missing": nil, "null": nil, "s": {"x"}, "a": {"p", "q"}, "lines": {"A: 1", "B: 2", "C: 3"},
	} {
		if got, err := p.lines(name); err != nil || !slices.Equal(got, want) {
			t.Errorf("lines(%s) = %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"n", "m", "o"} {
		_, err := p.lines(name)
		checkError(t, err, name+" must be a string or an array of strings")
	}
}

// What was parsed means what encoding/json says it means, and nothing that
// parses makes a reply that does not.
func FuzzParseObject(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `{}`, `{"action":"get_status","params":{"url":"http://h"},"echo":{"a":[1,2]}}`,
		"\uFEFF{\"echo\":\"\\ud800\"}", `{"a":1,"a":2}`, `[[[[`, "{\"\xff\":1}", `{"echo": 1.0e+2 }`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		params, err := ParseObject(body)
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("error of type %T", err)
			}
			return
		}
		echo := bytes.Clone(params["echo"])
		call, _ := EnvelopeCall(params)
		if !bytes.Equal(call.Echo, echo) {
			t.Errorf("echo changed: %s, was %s", call.Echo, echo)
		}
		for _, reply := range []*Reply{
			{Status: "ok", Echo: call.Echo},
			Failure(UnknownAction(call.Action), call.Echo),
		} {
			got := reply.JSON()
			if !json.Valid(got) || !utf8.Valid(got) {
				t.Errorf("reply is not JSON: %q", got)
			}
		}
	})
}

func FuzzParseForm(f *testing.F) {
	for _, seed := range []string{"", "a=1&b=2", "a=1&a=2", "a;b=%3B", "%zz", "\xff=\xfe", "echo=%22"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, form string) {
		params, err := ParseForm(form)
		if err != nil {
			return
		}
		sent, err := url.ParseQuery(strings.ReplaceAll(form, ";", "%3B"))
		if err != nil || len(sent) != len(params) {
			t.Fatalf("sent are %q, %v", sent, err)
		}
		for name, values := range sent {
			var got []string
			if len(values) == 1 {
				got = []string{""}
				err = json.Unmarshal(params[name], &got[0])
			} else {
				err = json.Unmarshal(params[name], &got)
			}
			if err != nil || !slices.Equal(got, values) {
				t.Errorf("value of %q is %q, not %q", name, params[name], values)
			}
		}
	})
}

func raw(s string) json.RawMessage { return json.RawMessage(s) }

// checkError checks that err says want, in both languages, or is nil if want
// is empty.
func checkError(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Fatalf("unexpected error: %v", err)
		}
		return
	}
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Message != want || e.Wording == "" || e.Retcode != RetcodeBadRequest {
		t.Fatalf("got error %+v, want %q", err, want)
	}
}
