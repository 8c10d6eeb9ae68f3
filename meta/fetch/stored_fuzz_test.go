package fetch

import (
	"encoding/json"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
)

var maxAges = regexp.MustCompile(`(?i)max-age="?(\d+)`)

// FuzzStored checks what must hold of all responses and requests, and of all
// that may be found where a response was remembered.
func FuzzStored(f *testing.F) {
	f.Add("max-age=60", "3", "Fri, 02 Jan 2026 15:04:05 GMT", "", `"a"`, "Fri, 02 Jan 2026 15:04:05 GMT", "", "", uint32(9),
		`{"q":"2026-01-02T15:04:05Z","r":"2026-01-02T15:04:05Z","h":{"Cache-Control":["max-age=60"]}}`)
	f.Add("private=a,no-store", "", "foo", "Thu, 18 Aug 2050 02:01:18 GMT", `W/"a"`, "foo", "*", "max-age=0", uint32(0),
		`{"h":{"Etag":["\n"]}}`)
	f.Add("a=\"max-age=1\", MAX-AGE=\"2\"", "1, 2", "", "Thu, 18 Aug 2050 02:01:18 GMT", "a", "", "A", "min-fresh=1", uint32(1),
		`{"r":"9999-12-31T23:59:59Z","h":{"Expires":["Thu, 18 Aug 2050 02:01:18 GMT"],"Date":[]}}`)
	f.Add("no-cache=\"a\", max-age=9", "", "", "Thu Aug  8 02:01:18 2050", "\"\xff\"", "", "", "No-Store", uint32(0), `null`)
	f.Fuzz(func(t *testing.T, cc, age, date, expires, tag, modified, vary, wish string, after uint32, doc string) {
		response := make(http.Header)
		for name, value := range map[string]string{
			"Cache-Control": cc, "Age": age, "Date": date, "Expires": expires, "Etag": tag, "Last-Modified": modified, "Vary": vary,
		} {
			if value != "" {
				response[name] = strings.Split(value, "\n")
			}
		}
		request := http.Header{"Cache-Control": {wish}}
		now := received.Add(time.Duration(after) * time.Second)
		s := newStored(response, received, received)
		checkStored(t, s, request, now)

		kept, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var again, doubtful stored
		if err := json.Unmarshal(kept, &again); err != nil {
			t.Fatal(err)
		}
		said := strings.Join([]string{cc, age, date, expires, tag, modified, vary}, " ")
		if utf8.ValidString(said) && !reflect.DeepEqual(again, s) {
			t.Errorf("got %+v, want %+v", again, s)
		}
		if again.fresh(request, now) && !s.fresh(request, now) || again.conditions(http.Header{}) && !s.conditions(http.Header{}) {
			t.Errorf("%+v may do more than %+v", again, s)
		}
		if json.Unmarshal([]byte(doc), &doubtful) == nil {
			checkStored(t, doubtful, request, now)
		}
		if u, ok := s.updated(doubtful.Header, now, now); ok {
			checkStored(t, u, request, now)
		}
	})
}

func checkStored(t *testing.T, s stored, request http.Header, now time.Time) {
	t.Helper()
	storable := storable(request, http.StatusOK, s.Header)
	says := strings.Join(s.Header["Cache-Control"], ", ") + ", " + request.Get("Cache-Control")
	if storable && strings.Contains(strings.ToLower(says), "no-store") {
		t.Errorf("%+v is storable", s)
	}
	if s.fresh(request, now) {
		if !storable || !s.fresh(request, s.Received) || now.Before(s.Received) || strings.Contains(strings.ToLower(says), "no-cache") {
			t.Errorf("%+v is fresh", s)
		}
		for _, m := range maxAges.FindAllStringSubmatch(says, -1) {
			if n, err := strconv.ParseInt(m[1], 10, 33); err == nil && now.Sub(s.Received) >= time.Duration(n)*time.Second {
				t.Errorf("%+v is fresh for a request that says %q", s, request.Get("Cache-Control"))
			}
		}
	}
	conditional := make(http.Header)
	if s.conditions(conditional) != (len(conditional) > 0) {
		t.Errorf("conditions are %v", conditional)
	}
	for name := range conditional {
		if value := conditional.Get(name); value == "" || !httpguts.ValidHeaderFieldValue(value) {
			t.Errorf("%s: %q", name, value)
		}
	}
}
