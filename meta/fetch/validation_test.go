package fetch

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestStorable(t *testing.T) {
	for name, tt := range map[string]struct {
		request  http.Header
		status   int
		response http.Header
		want     bool
	}{
		"fresh by max-age":                      {nil, 200, head("Cache-Control: max-age=1"), true},
		"fresh by Expires":                      {nil, 200, head("Date: {0}", "Expires: {1}"), true},
		"perhaps fresh by Expires":              {nil, 200, head("Expires: {1}"), true},
		"never fresh, with ETag":                {nil, 200, head("ETag: \"a\""), true},
		"never fresh, with weak ETag":           {nil, 200, head("ETag: W/\"a\""), true},
		"never fresh, with Last-Modified":       {nil, 200, head("Last-Modified: {-60}"), true},
		"no-cache with ETag":                    {nil, 200, head("Cache-Control: no-cache", "ETag: \"a\""), true},
		"private":                               {nil, 200, head("Cache-Control: private, max-age=1"), true},
		"private, asked for with credentials":   {head("Authorization: x"), 200, head("Cache-Control: max-age=1"), true},
		"varying":                               {nil, 200, head("Cache-Control: max-age=1", "Vary: Accept"), true},
		"another success":                       {nil, 203, head("Cache-Control: max-age=1"), true},
		"an unknown success":                    {nil, 299, head("Cache-Control: max-age=1"), true},
		"nothing is said":                       {nil, 200, head(), false},
		"max-age=0 alone":                       {nil, 200, head("Cache-Control: max-age=0"), false},
		"no-cache alone":                        {nil, 200, head("Cache-Control: no-cache, max-age=1"), false},
		"s-maxage alone":                        {nil, 200, head("Cache-Control: s-maxage=1"), false},
		"past Expires alone":                    {nil, 200, head("Date: {0}", "Expires: {0}"), false},
		"stale as it came":                      {nil, 200, head("Cache-Control: max-age=60", "Age: 60"), false},
		"stale as it came, with ETag":           {nil, 200, head("Cache-Control: max-age=60", "Age: 60", "ETag: \"a\""), true},
		"an ETag without quotes":                {nil, 200, head("ETag: a"), false},
		"a Last-Modified that does not parse":   {nil, 200, head("Last-Modified: yesterday"), false},
		"more than is worth remembering":        {nil, 200, head("Cache-Control: max-age=9", "Vary: "+strings.Repeat("a,", 2048)), false},
		"no-store":                              {nil, 200, head("Cache-Control: no-store", "ETag: \"a\""), false},
		"No-StOrE":                              {nil, 200, head("Cache-Control: No-StOrE", "ETag: \"a\""), false},
		"no-store with max-age and Expires":     {nil, 200, head("Cache-Control: max-age=9, no-store", "Date: {0}", "Expires: {9}"), false},
		"no-store on a second line":             {nil, 200, head("Cache-Control: max-age=9", "Cache-Control: no-store"), false},
		"no-store with a value":                 {nil, 200, head("Cache-Control: max-age=9, no-store=1", "ETag: \"a\""), false},
		"no-store beside what does not parse":   {nil, 200, head("Cache-Control: max-age=x, no-store, a=\"", "ETag: \"a\""), false},
		"no-store behind an unquoted name":      {nil, 200, head("Cache-Control: private=a,no-store", "ETag: \"a\""), false},
		"no-store and must-understand":          {nil, 200, head("Cache-Control: max-age=9, no-store, must-understand"), false},
		"must-understand":                       {nil, 200, head("Cache-Control: max-age=9, must-understand"), true},
		"must-understand an unknown success":    {nil, 299, head("Cache-Control: max-age=9, must-understand"), false},
		"no-store in the request":               {head("Cache-Control: no-store"), 200, head("Cache-Control: max-age=9"), false},
		"No-Store in a request, with more":      {head("Cache-Control: max-age=x, No-Store"), 200, head("ETag: \"a\""), false},
		"Vary is a star":                        {nil, 200, head("Cache-Control: max-age=9", "Vary: *"), false},
		"Vary is two stars":                     {nil, 200, head("Cache-Control: max-age=9", "Vary: *, *"), false},
		"Vary is two stars on two lines":        {nil, 200, head("Cache-Control: max-age=9", "Vary: *", "Vary: *"), false},
		"Vary is nothing and a star":            {nil, 200, head("Cache-Control: max-age=9", "Vary: , *"), false},
		"Vary is nothing and a star, two lines": {nil, 200, head("Cache-Control: max-age=9", "Vary: ", "Vary: *"), false},
		"Vary is a star and a name":             {nil, 200, head("Cache-Control: max-age=9", "Vary: *, Foo"), false},
		"Vary is a name and a star":             {nil, 200, head("Cache-Control: max-age=9", "Vary: Foo, *"), false},
		"a part":                                {nil, 206, head("Cache-Control: max-age=9", "ETag: \"a\""), false},
		"not modified":                          {nil, 304, head("Cache-Control: max-age=9", "ETag: \"a\""), false},
		"a redirect":                            {nil, 301, head("Cache-Control: max-age=9", "ETag: \"a\""), false},
		"a failure":                             {nil, 404, head("Cache-Control: max-age=9", "ETag: \"a\""), false},
		"an interim answer":                     {nil, 103, head("Cache-Control: max-age=9", "ETag: \"a\""), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := storable(tt.request, tt.status, tt.response); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
}

func TestStoredIsKeptAsJSON(t *testing.T) {
	response := head("Age: 1", "Cache-Control: max-age=9", "Cache-Control: private", "Date: {0}", "ETag: \"<&>\"",
		"Expires: {9}", "Last-Modified: {-9}", "Vary: Foo", "Set-Cookie: secret", "Content-Type: a/b")
	s := newStored(response, received.Add(-time.Second), received.Add(time.Nanosecond))
	doc, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var again stored
	if err := json.Unmarshal(doc, &again); err != nil || !reflect.DeepEqual(again, s) {
		t.Errorf("got %+v, %v, want %+v", again, err, s)
	}
	response.Del("Set-Cookie")
	response.Del("Content-Type")
	if !reflect.DeepEqual(again.Header, response) {
		t.Errorf("got %v, want %v", again.Header, response)
	}
	response["Age"][0] = "2"
	if s.Header.Get("Age") != "1" {
		t.Error("the stored header is the response's own")
	}

	for _, doc := range []string{
		`null`, `{}`, `{"h":{"Cache-Control":["max-age=99999999999"]}}`, `{"h":{"Cache-Control":[]}}`, `{"h":{"Age":[],"Etag":null}}`,
		`{"h":{"Expires":["Thu, 18 Aug 2050 02:01:18 GMT"],"Etag":["\"a\r\n\""],"Last-Modified":["\u0000"]}}`,
	} {
		var s stored
		if err := json.Unmarshal([]byte(doc), &s); err != nil {
			t.Errorf("%s: %v", doc, err)
		}
		if s.fresh(nil, received) || s.conditions(make(http.Header)) {
			t.Errorf("%s is of use", doc)
		}
	}
}

func TestValidationIsAskedFor(t *testing.T) {
	for name, tt := range map[string]struct {
		response http.Header
		want     http.Header
	}{
		"by nothing":                     {head("Cache-Control: max-age=9"), head()},
		"by a strong ETag":               {head("ETag: \"abcdef\""), head("If-None-Match: \"abcdef\"")},
		"by an empty ETag":               {head("ETag: \"\""), head("If-None-Match: \"\"")},
		"by a weak ETag":                 {head("ETag: W/\"abcdef\""), head("If-None-Match: W/\"abcdef\"")},
		"by a date":                      {head("Last-Modified: {-60}"), head("If-Modified-Since: {-60}")},
		"by a date of another form":      {head("Last-Modified: Thu Jan  1 00:00:00 2026"), head("If-Modified-Since: Thu Jan  1 00:00:00 2026")},
		"by both":                        {head("ETag: \"a,b\"", "Last-Modified: {-60}"), head("If-None-Match: \"a,b\"", "If-Modified-Since: {-60}")},
		"not by two ETags":               {head("ETag: \"a\"", "ETag: \"b\""), head()},
		"not by two dates":               {head("Last-Modified: {-60}", "Last-Modified: {-60}"), head()},
		"not by an ETag without quotes":  {head("ETag: abcdef", "Last-Modified: {-60}"), head("If-Modified-Since: {-60}")},
		"not by a lower case w":          {head("ETag: w/\"abcdef\""), head()},
		"not by a backslash for a slash": {head("ETag: W\\\"abcdef\""), head()},
		"not by a W without a slash":     {head("ETag: W\"abcdef\""), head()},
		"not by a star":                  {head("ETag: *"), head()},
		"not by a list":                  {head("ETag: \"a\", \"b\""), head()},
		"not by bytes beyond ASCII":      {head("ETag: \"abcdef\xfc\""), head()},
		"not by a broken line":           {http.Header{"Etag": {"\"a\"\n"}, "Last-Modified": {head("A: {0}").Get("A") + "\n"}}, head()},
		"not by an ETag with a space":    {head("ETag: \"abc def\""), head()},
		"not by a date without a zone":   {head("ETag: \"a\"", "Last-Modified: 2026-01-01"), head("If-None-Match: \"a\"")},
		"not by a day that is none":      {head("Last-Modified: Thu, 32 Jan 2026 00:00:00 GMT"), head()},
	} {
		t.Run(name, func(t *testing.T) {
			got := make(http.Header)
			ok := newStored(tt.response, received, received).conditions(got)
			if !reflect.DeepEqual(got, tt.want) || ok != (len(tt.want) > 0) {
				t.Errorf("got %v, %t, want %v", got, ok, tt.want)
			}
		})
	}
}

func TestValidationByNotModified(t *testing.T) {
	later := received.Add(time.Hour)
	for name, tt := range map[string]struct {
		stored, answer http.Header
		want           http.Header // nil if the answer is about another response
	}{
		"the same strong ETag":                     {head("ETag: \"a\""), head("ETag: \"a\""), head("ETag: \"a\"")},
		"another strong ETag":                      {head("ETag: \"a\""), head("ETag: \"b\""), nil},
		"a strong ETag after a weak one":           {head("ETag: W/\"a\""), head("ETag: \"a\""), nil},
		"a strong ETag after none":                 {head("Last-Modified: {-60}"), head("Last-Modified: {-60}", "ETag: \"a\""), nil},
		"the same weak ETag":                       {head("ETag: W/\"a\""), head("ETag: W/\"a\""), head("ETag: W/\"a\"")},
		"a weak ETag after the same strong one":    {head("ETag: \"a\""), head("ETag: W/\"a\""), head("ETag: W/\"a\"")},
		"another weak ETag":                        {head("ETag: W/\"a\""), head("ETag: W/\"b\""), nil},
		"another one without quotes":               {head("ETag: a", "Last-Modified: {-60}"), head("ETag: b", "Last-Modified: {-60}"), nil},
		"two ETags":                                {head("ETag: \"a\""), head("ETag: \"a\"", "ETag: \"b\""), nil},
		"the same date":                            {head("Last-Modified: {-60}"), head("Last-Modified: {-60}"), head("Last-Modified: {-60}")},
		"another date":                             {head("Last-Modified: {-60}"), head("Last-Modified: {-90}"), nil},
		"another date with the same weak ETag":     {head("ETag: W/\"a\"", "Last-Modified: {-60}"), head("ETag: W/\"a\"", "Last-Modified: {-90}"), nil},
		"another date with the same strong ETag":   {head("ETag: \"a\"", "Last-Modified: {-60}"), head("ETag: \"a\"", "Last-Modified: {-90}"), head("ETag: \"a\"", "Last-Modified: {-90}")},
		"no validator":                             {head("ETag: \"a\"", "Last-Modified: {-60}", "Vary: A"), head(), head("ETag: \"a\"", "Last-Modified: {-60}", "Vary: A")},
		"fields take the place of stored ones":     {head("ETag: \"a\"", "Cache-Control: max-age=1", "Cache-Control: private", "Expires: {1}", "Vary: A"), head("ETag: \"a\"", "Cache-Control: max-age=9", "Expires: {9}", "Vary: B"), head("ETag: \"a\"", "Cache-Control: max-age=9", "Expires: {9}", "Vary: B")},
		"the age is that of the 304":               {head("ETag: \"a\"", "Age: 1800", "Date: {-1800}"), head("ETag: \"a\""), head("ETag: \"a\"")},
		"the age is that of the 304, which has it": {head("ETag: \"a\"", "Age: 1800", "Date: {-1800}"), head("ETag: \"a\"", "Age: 5", "Date: {3600}"), head("ETag: \"a\"", "Age: 5", "Date: {3600}")},
		"what else it says is not remembered":      {head("ETag: \"a\""), head("ETag: \"a\"", "Set-Cookie: a=b", "Content-Length: 5"), head("ETag: \"a\"")},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStored(tt.stored, received, received)
			got, ok := s.updated(tt.answer, later.Add(-time.Second), later)
			if tt.want == nil && ok {
				t.Fatalf("got %+v", got)
			}
			if want := newStored(tt.want, later.Add(-time.Second), later); tt.want != nil && (!ok || !reflect.DeepEqual(got, want)) {
				t.Errorf("got %+v, %t, want %+v", got, ok, want)
			}
			if !reflect.DeepEqual(s, newStored(tt.stored, received, received)) {
				t.Errorf("stored is now %+v", s)
			}
		})
	}
}

func TestValidationDecidesAboutReuse(t *testing.T) {
	later := received.Add(time.Hour)
	for name, tt := range map[string]struct {
		stored, answer  http.Header
		fresh, storable bool // an hour and a second after the response, a second after the 304
	}{
		"the stored max-age counts again":     {head("ETag: \"a\"", "Date: {0}", "Cache-Control: max-age=9"), head("ETag: \"a\"", "Date: {3600}"), true, true},
		"also if the 304 has no Date":         {head("ETag: \"a\"", "Date: {0}", "Age: 9", "Cache-Control: max-age=9"), head("ETag: \"a\""), true, true},
		"the stored Expires does not":         {head("ETag: \"a\"", "Date: {0}", "Expires: {9}"), head("ETag: \"a\"", "Date: {3600}"), false, true},
		"the Expires of the 304 does":         {head("ETag: \"a\"", "Date: {0}", "Expires: {9}"), head("ETag: \"a\"", "Date: {3600}", "Expires: {3609}"), true, true},
		"the 304 takes freshness away":        {head("ETag: \"a\"", "Cache-Control: max-age=9"), head("ETag: \"a\"", "Cache-Control: no-cache"), false, true},
		"the 304 is itself from an old cache": {head("ETag: \"a\"", "Cache-Control: max-age=9"), head("ETag: \"a\"", "Age: 9"), false, true},
		"the 304 forbids to keep it":          {head("ETag: \"a\"", "Cache-Control: max-age=9"), head("ETag: \"a\"", "Cache-Control: max-age=9, no-store"), false, false},
		"the 304 says that it varies by all":  {head("ETag: \"a\"", "Cache-Control: max-age=9"), head("ETag: \"a\"", "Vary: *"), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			u, ok := newStored(tt.stored, received, received).updated(tt.answer, later, later)
			fresh, storable := u.fresh(nil, later.Add(time.Second)), storable(nil, http.StatusOK, u.Header)
			if !ok || fresh != tt.fresh || storable != tt.storable {
				t.Errorf("got %t: fresh %t, storable %t", ok, fresh, storable)
			}
		})
	}
}

func TestValidationByStrongETag(t *testing.T) {
	for tag, want := range map[string]string{
		`"a"`: `"a"`, `""`: `""`, `"W/a"`: `"W/a"`, `W/"a"`: "", `w/"a"`: "", `a`: "", `"a`: "", `"a" "b"`: "", `"a b"`: "", "": "",
	} {
		if got := strongETag(http.Header{"Etag": {tag}}); got != want {
			t.Errorf("%s: got %q, want %q", tag, got, want)
		}
	}
	if got := strongETag(head("ETag: \"a\"", "ETag: \"a\"")); got != "" {
		t.Errorf("of two: got %q", got)
	}
}
