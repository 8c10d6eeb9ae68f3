package packet

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestEchoKeyIsOneForAllWaysToWriteAValue(t *testing.T) {
	keys := make(map[string]string) // of all ways, to find two that are the same
	for name, ways := range map[string][]string{
		"nothing":              {``, ` `, `null`, " null\n"},
		"a string":             {`"a-1"`, ` "a-1"`, `"\u0061-1"`, `"a\u002d1"`},
		"a string of a number": {`"1"`, `"\u0031"`},
		"a slash":              {`"a/b"`, `"a\/b"`},
		"HTML":                 {`"<a&b>"`, `"\u003ca\u0026b\u003e"`},
		"less":                 {`"<"`, `"\u003c"`},
		"greater":              {`">"`, `"\u003e"`},
		"and":                  {`"&"`, `"\u0026"`},
		"Chinese":              {`"中"`, `"\u4e2d"`, `"\u4E2D"`},
		"an emoji":             {`"😀"`, `"\ud83d\ude00"`},
		"a line separator":     {"\"\u2028\"", `"\u2028"`},
		"a quote":              {`"\""`, `"\u0022"`},
		"the empty string":     {`""`, `"" `},
		"true":                 {`true`, ` true `},
		"an integer":           {`1`, `1.0`, `10e-1`, `0.1E+1`},
		"a thousand":           {`1000`, `1e3`, `1000.00`},
		"zero":                 {`0`, `-0`, `0.0`, `0e5`, `-0e-99999999999999999999`},
		"a negative":           {`-5`, `-5.0`, `-50e-1`},
		"a fraction":           {`0.5`, `5e-1`, `0.50`},
		"a big integer":        {`12345678901234567890`, `12345678901234567890.0`},
		"its neighbour":        {`12345678901234567891`},
		"one of 40 digits":     {strings.Repeat("1", 39) + "0", strings.Repeat("1", 39) + "e1"},
		"a huge one":           {`1e400`, `10e399`},
		"too huge a one":       {`1e99999999999999999999`},
		"the highest exponent": {`10e9223372036854775807`},
		"the lowest":           {`1e-9223372036854775808`},
		"an array":             {`[1,"a",null]`, "[ 1.0 ,\n\"\\u0061\" , null ]"},
		"in another order":     {`["a",1,null]`},
		"an object":            {`{"a":1,"b":[{}]}`, `{ "b" : [ { } ], "\u0061" : 1e0 }`},
		"with null":            {`{"a":null}`},
		"without":              {`{}`, `{ }`},
		"not JSON":             {`{"a":`},
		"two values":           {`1 2`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, way := range ways {
				if got, want := EchoKey(raw(way)), EchoKey(raw(ways[0])); got != want {
					t.Errorf("%s: got %q, want %q", way, got, want)
				}
			}
			key := EchoKey(raw(ways[0]))
			if (key == "") != (name == "nothing") {
				t.Errorf("the key is %q", key)
			}
			if again := EchoKey(raw(key)); again != key {
				t.Errorf("the key of %q is %q", key, again)
			}
			if other, ok := keys[key]; ok {
				t.Errorf("%q is also the key of %s", key, other)
			}
			keys[key] = name
		})
	}
}

func FuzzEchoKey(f *testing.F) {
	for _, s := range samples {
		f.Add([]byte(s))
	}
	for _, s := range []string{`1.50e+3`, `-0.0`, `"\u003c"`, `[1e5,{"b":1,"a":2}]`, `100000000000000000000000000000000000e-3`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, echo []byte) {
		key := EchoKey(echo)
		if again := EchoKey(raw(key)); json.Valid(echo) && again != key {
			t.Fatalf("the key of %q is %q, and of that %q", echo, key, again)
		}
		var v any
		if json.Unmarshal(echo, &v) != nil || v == nil {
			return
		}
		if !json.Valid([]byte(key)) {
			t.Fatalf("%q is no JSON", key)
		}
		var k any
		if err := json.Unmarshal([]byte(key), &k); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(k, v) {
			t.Fatalf("%q became %q: %v, want %v", echo, key, k, v)
		}
	})
}
