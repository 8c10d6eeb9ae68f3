package fetch

import (
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// received is when the responses of the tests come, in the same second in
// which they are asked for.
var received = time.Date(2026, time.January, 2, 15, 4, 5, 0, time.UTC)

// head is a header of lines "Name: value". In a value, {n} is the HTTP-date n
// seconds after received.
func head(lines ...string) http.Header {
	h := make(http.Header)
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, relativeDate.ReplaceAllStringFunc(value, func(n string) string {
			after, err := strconv.Atoi(strings.Trim(n, "{}"))
			if err != nil {
				panic(err)
			}
			return received.Add(time.Duration(after) * time.Second).Format(http.TimeFormat)
		}))
	}
	return h
}

var relativeDate = regexp.MustCompile(`\{-?\d+\}`)

// The tests of freshness and validation go through the cases for private
// caches in https://github.com/http-tests/cache-tests, and then some. What is
// optional there is not fresh here if it is in doubt.

func TestFreshByTheResponse(t *testing.T) {
	for name, tt := range map[string]struct {
		response http.Header
		after    int // seconds since it was received
		want     bool
	}{
		"more is said than is read":                       {head("Cache-Control: max-age=3600, " + strings.Repeat("a=\"\",", 1000)), 0, false},
		"much is said":                                    {head("Cache-Control: max-age=3600, " + strings.Repeat("a=\"\",", 500)), 0, true},
		"nothing is said":                                 {head("Date: {0}"), 0, false},
		"a Last-Modified of long ago is no promise":       {head("Date: {0}", "Last-Modified: {-864000}"), 0, false},
		"nor is public":                                   {head("Cache-Control: public", "Last-Modified: {-864000}"), 0, false},
		"before max-age":                                  {head("Cache-Control: max-age=3600"), 3599, true},
		"at max-age":                                      {head("Cache-Control: max-age=3600"), 3600, false},
		"max-age is zero":                                 {head("Cache-Control: max-age=0"), 0, false},
		"max-age is the largest of 31 bits":               {head("Cache-Control: max-age=2147483647"), 1 << 30, true},
		"max-age is one more":                             {head("Cache-Control: max-age=2147483648"), 1 << 30, true},
		"max-age is more than 32 bits":                    {head("Cache-Control: max-age=99999999999"), 1 << 30, true},
		"max-age is more than 64 bits":                    {head("Cache-Control: max-age=99999999999999999999"), 1 << 30, true},
		"a directive nobody knows is beside max-age":      {head("Cache-Control: foobar, a=b, c=\"d, e\", max-age=3600"), 9, true},
		"the case does not matter":                        {head("Cache-Control: MaX-aGe=3600"), 9, true},
		"zeros lead":                                      {head("Cache-Control: max-age=003600"), 9, true},
		"max-age is quoted":                               {head("Cache-Control: max-age=\"3600\""), 9, true},
		"max-age is in single quotes":                     {head("Cache-Control: max-age='3600'"), 9, false},
		"max-age is negative":                             {head("Cache-Control: max-age=-3600"), 9, false},
		"max-age has a sign":                              {head("Cache-Control: max-age=+3600"), 9, false},
		"max-age has a fraction of zero":                  {head("Cache-Control: max-age=3600.0"), 9, false},
		"max-age has a fraction":                          {head("Cache-Control: max-age=3600.5"), 9, false},
		"a letter is before the number":                   {head("Cache-Control: max-age=a3600"), 9, false},
		"a letter is after the number":                    {head("Cache-Control: max-age=3600a"), 9, false},
		"a semicolon separates":                           {head("Cache-Control: max-age=3600; public"), 9, false},
		"max-age has no value":                            {head("Cache-Control: max-age", "Expires: {3600}"), 9, false},
		"max-age has an empty value":                      {head("Cache-Control: max-age=, public", "Expires: {3600}"), 9, false},
		"a space is before the equals sign":               {head("Cache-Control: max-age =3600"), 9, false},
		"a space is after the equals sign":                {head("Cache-Control: max-age= 3600"), 9, false},
		"a quote is not closed":                           {head("Cache-Control: max-age=3600, a=\"b"), 9, false},
		"a flag has a value":                              {head("Cache-Control: max-age=3600, must-revalidate=1"), 9, false},
		"max-age comes twice, the first is longer":        {head("Cache-Control: max-age=1800, max-age=1"), 0, false},
		"max-age comes twice, the last is longer":         {head("Cache-Control: max-age=1, max-age=1800"), 0, false},
		"max-age comes on two lines, longer first":        {head("Cache-Control: max-age=1800", "Cache-Control: max-age=1"), 0, false},
		"max-age comes on two lines, longer last":         {head("Cache-Control: max-age=1", "Cache-Control: max-age=1800"), 0, false},
		"a quoted max-age is before the real one":         {head("Cache-Control: extension=\"max-age=3600\", max-age=1"), 2, false},
		"a quoted max-age is after the real one":          {head("Cache-Control: max-age=1, extension=\"max-age=3600\""), 2, false},
		"there is only a quoted max-age":                  {head("Cache-Control: extension=\"max-age=3600\""), 0, false},
		"max-age hides behind an unquoted field name":     {head("Cache-Control: private=a,max-age=0", "Expires: {3600}"), 9, false},
		"no-cache hides behind an unquoted field name":    {head("Cache-Control: private=a,no-cache, max-age=3600"), 9, false},
		"max-age hides in a quote over two lines":         {head("Cache-Control: a=\"b", "Cache-Control: max-age=0, c=\"d\"", "Expires: {3600}"), 9, false},
		"s-maxage is longer than max-age":                 {head("Cache-Control: s-maxage=3600, max-age=1"), 2, false},
		"s-maxage is longer, on another line":             {head("Cache-Control: s-maxage=3600", "Cache-Control: max-age=1"), 2, false},
		"s-maxage is shorter than max-age":                {head("Cache-Control: max-age=3600, s-maxage=1"), 2, true},
		"s-maxage is alone":                               {head("Cache-Control: s-maxage=3600"), 0, false},
		"other headers are for shared caches":             {head("Surrogate-Control: max-age=9", "CDN-Cache-Control: max-age=9"), 0, false},
		"they are also if they say less":                  {head("Cache-Control: max-age=9", "CDN-Cache-Control: no-store"), 0, true},
		"private":                                         {head("Cache-Control: private, max-age=3600"), 9, true},
		"private with field names":                        {head("Cache-Control: private=\"a, b\", max-age=3600"), 9, true},
		"must-revalidate before max-age":                  {head("Cache-Control: max-age=3600, must-revalidate"), 9, true},
		"must-revalidate at max-age":                      {head("Cache-Control: max-age=2, must-revalidate"), 2, false},
		"immutable before max-age":                        {head("Cache-Control: max-age=3600, immutable"), 9, true},
		"immutable at max-age":                            {head("Cache-Control: max-age=2, immutable"), 2, false},
		"stale-while-revalidate is not used":              {head("Cache-Control: max-age=1, stale-while-revalidate=3600"), 2, false},
		"stale-if-error is not used":                      {head("Cache-Control: max-age=1, stale-if-error=3600"), 2, false},
		"no-cache wins":                                   {head("Cache-Control: max-age=3600, No-CaChE", "Expires: {3600}"), 0, false},
		"no-cache with a field name wins":                 {head("Cache-Control: no-cache=\"a\"", "Cache-Control: max-age=3600"), 0, false},
		"no-cache with field names wins":                  {head("Cache-Control: no-cache=\"a, b\"", "Cache-Control: max-age=3600"), 0, false},
		"no-store wins, if it should have been kept":      {head("Cache-Control: max-age=3600, no-store"), 0, false},
		"Vary names what is the same":                     {head("Cache-Control: max-age=3600", "Vary: Foo, Bar"), 9, true},
		"Vary matches nothing":                            {head("Cache-Control: max-age=3600", "Vary: Foo, *"), 0, false},
		"Pragma is for requests":                          {head("Cache-Control: max-age=3600", "Pragma: no-cache"), 9, true},
		"cookies and attachments do not matter":           {head("Cache-Control: max-age=9", "Set-Cookie: a=b", "Content-Disposition: attachment"), 0, true},
		"max-age wins over a past Expires":                {head("Cache-Control: max-age=3600", "Expires: {-7200}"), 9, true},
		"max-age wins over what is no Expires":            {head("Cache-Control: max-age=3600", "Expires: 0"), 9, true},
		"max-age=0 wins over a future Expires":            {head("Cache-Control: max-age=0", "Expires: {3600}"), 0, false},
		"Age is beyond max-age":                           {head("Cache-Control: max-age=3600", "Age: 7200"), 0, false},
		"Age and the time since then are not yet":         {head("Cache-Control: max-age=3600", "Age: 1800"), 1799, true},
		"Age and the time since then are":                 {head("Cache-Control: max-age=3600", "Age: 1800"), 1800, false},
		"Date is further back than max-age":               {head("Cache-Control: max-age=3600", "Date: {-7200}"), 0, false},
		"the older of Age and Date counts, Age":           {head("Cache-Control: max-age=3600", "Date: {-60}", "Age: 3600"), 0, false},
		"the older of Age and Date counts, Date":          {head("Cache-Control: max-age=3600", "Date: {-3600}", "Age: 60"), 0, false},
		"Date is further back than can be told":           {head("Cache-Control: max-age=3600", "Date: Mon, 01 Jan 0001 00:00:00 GMT"), 3601, false},
		"a Date to come makes nothing younger":            {head("Cache-Control: max-age=3600", "Date: {7200}"), 3600, false},
		"Age is the largest of 31 bits":                   {head("Cache-Control: max-age=3600", "Age: 2147483647"), 0, false},
		"Age is one more":                                 {head("Cache-Control: max-age=3600", "Age: 2147483648"), 0, false},
		"Age is longer than can be told":                  {head("Cache-Control: max-age=3600", "Age: 9999999999"), 0, false},
		"Age is more than 64 bits":                        {head("Cache-Control: max-age=99999999999", "Age: 99999999999999999999"), 0, false},
		"the first of two in one Age is old":              {head("Cache-Control: max-age=3600", "Age: 7200, 0"), 0, false},
		"the first of two in one Age is not old":          {head("Cache-Control: max-age=3600", "Age: 0, 7200"), 9, true},
		"the first of two Age lines is old":               {head("Cache-Control: max-age=3600", "Age: 7200", "Age: 0"), 0, false},
		"the first of two Age lines is not old":           {head("Cache-Control: max-age=3600", "Age: 0", "Age: 7200"), 9, true},
		"Age is said twice in a line":                     {head("Cache-Control: max-age=3600", "Age: 0, 0"), 9, true},
		"Age is said twice with a space before the comma": {head("Cache-Control: max-age=3600", "Age: 0 , 7200"), 9, true},
		"Age is said on two lines":                        {head("Cache-Control: max-age=10000", "Age: 3600", "Age: 3600"), 9, true},
		"Age is no number":                                {head("Cache-Control: max-age=3600", "Age: abc"), 9, true},
		"Age begins with a large number":                  {head("Cache-Control: max-age=3600", "Age: 99999999999s"), 9, true},
		"Age is negative":                                 {head("Cache-Control: max-age=3600", "Age: -7200"), 9, true},
		"Age has a fraction":                              {head("Cache-Control: max-age=3600", "Age: 7200.0"), 9, true},
		"Age has a parameter":                             {head("Cache-Control: max-age=3600", "Age: 0;foo=111"), 9, true},
		"Age is empty":                                    {head("Cache-Control: max-age=3600", "Age: "), 9, true},
		"before Expires":                                  {head("Date: {0}", "Expires: {3600}"), 3599, true},
		"at Expires":                                      {head("Date: {0}", "Expires: {3600}"), 3600, false},
		"Expires is past":                                 {head("Date: {0}", "Expires: {-3600}"), 0, false},
		"Expires is now":                                  {head("Date: {0}", "Expires: {0}"), 0, false},
		"Expires is before Date, both to come":            {head("Date: {400}", "Expires: {300}"), 0, false},
		"Expires is longer before Date than can be told":  {head("Date: Fri, 31 Dec 9999 23:59:59 GMT", "Expires: Mon, 01 Jan 0001 00:00:00 GMT"), 9, false},
		"Expires is far off":                              {head("Date: {0}", "Expires: Sun, 21 Nov 2286 04:46:39 GMT"), 1 << 30, true},
		"Expires is farther than a duration":              {head("Date: {0}", "Expires: Fri, 31 Dec 9999 23:59:59 GMT"), 1 << 30, true},
		"Expires counts from a slow Date, with Age":       {head("Date: {-10}", "Expires: {10}", "Age: 25"), 0, false},
		"Expires counts from a fast Date, with Age":       {head("Date: {10}", "Expires: {20}", "Age: 15"), 0, false},
		"Date is missing, so it is when it was received":  {head("Expires: {10}"), 9, true},
		"Date does not parse, which is the same":          {head("Date: foo", "Expires: {10}"), 9, true},
		"Date does not parse, and Expires is reached":     {head("Date: foo", "Expires: {10}"), 10, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStored(tt.response, received, received)
			if got := s.fresh(nil, received.Add(time.Duration(tt.after)*time.Second)); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
}

func TestFreshByFormsOfExpires(t *testing.T) {
	for value, want := range map[string]bool{
		"Thu, 18 Aug 2050 02:01:18 GMT":    true,
		"Tue, 19 Jan 2038 14:14:08 GMT":    true,
		"Thursday, 18-Aug-50 02:01:18 GMT": true, // as in RFC 850
		"Thu Aug  8 02:01:18 2050":         true, // as asctime of C has it
		"THU, 18 Aug 2050 02:01:18 GMT":    true,
		"Thu, 18 AUG 2050 02:01:18 GMT":    true,
		"Thu, 18 Aug 2050 02:01:18 gMT":    false,
		"Thu, 18 Aug 2050 02:01:18 UTC":    false,
		"Thu, 18 Aug 2050 02:01:18 AEST":   false,
		"Thursday, 18-Aug-50 02:01:18 EST": false,
		"Thu, 18 Aug 50 02:01:18 GMT":      false,
		"Thu 18 Aug 2050 02:01:18 GMT":     false,
		"Thu, 18  Aug  2050 02:01:18 GMT":  false,
		"Thu, 18-Aug-2050 02:01:18 GMT":    false,
		"Thu, 18 Aug 2050 02.01.18 GMT":    false,
		"Thu, 18 Aug 2050 2:01:18 GMT":     false,
		"Thu, 18 Aug 2050 02:01:18.5 GMT":  false,
		"Thu, 32 Aug 2050 02:01:18 GMT":    false,
		"2050-08-18T02:01:18Z":             false,
		"0":                                false,
		"-1":                               false,
		"":                                 false,
	} {
		t.Run("Expires: "+value, func(t *testing.T) {
			h := http.Header{"Expires": {value}}
			if got := newStored(h, received, received).fresh(nil, received); got != want {
				t.Errorf("got %t, want %t", got, want)
			}
			h.Add("Expires", value)
			if newStored(h, received, received).fresh(nil, received) {
				t.Error("twice the same is fresh")
			}
		})
	}
}

func TestFreshByTheRequest(t *testing.T) {
	for name, tt := range map[string]struct {
		request  http.Header
		response http.Header
		after    int
		want     bool
	}{
		"max-age=0":                             {head("Cache-Control: max-age=0"), head("Cache-Control: max-age=3600"), 0, false},
		"max-age is not reached":                {head("Cache-Control: max-age=2"), head("Cache-Control: max-age=3600"), 1, true},
		"max-age is reached":                    {head("Cache-Control: max-age=2"), head("Cache-Control: max-age=3600"), 2, false},
		"max-age is reached with Age":           {head("Cache-Control: max-age=600"), head("Cache-Control: max-age=3600", "Age: 1800"), 0, false},
		"max-age is longer than the response's": {head("Cache-Control: max-age=600"), head("Cache-Control: max-age=2"), 2, false},
		"max-age comes twice":                   {head("Cache-Control: max-age=0, max-age=600"), head("Cache-Control: max-age=3600"), 0, false},
		"max-age does not parse":                {head("Cache-Control: max-age=x"), head("Cache-Control: max-age=3600"), 0, false},
		"max-age hides behind no-cache":         {head("Cache-Control: private=a,max-age=0"), head("Cache-Control: max-age=3600"), 0, false},
		"min-fresh is left":                     {head("Cache-Control: min-fresh=1000"), head("Cache-Control: max-age=1500", "Age: 500"), 0, true},
		"min-fresh is not left":                 {head("Cache-Control: min-fresh=2000"), head("Cache-Control: max-age=1500"), 0, false},
		"min-fresh is not left with Age":        {head("Cache-Control: min-fresh=1000"), head("Cache-Control: max-age=1500", "Age: 1000"), 0, false},
		"min-fresh comes twice":                 {head("Cache-Control: min-fresh=2000, min-fresh=1"), head("Cache-Control: max-age=1500"), 0, false},
		"max-stale does not help":               {head("Cache-Control: max-stale=1000"), head("Cache-Control: max-age=1"), 2, false},
		"max-stale does not help with Age":      {head("Cache-Control: max-stale"), head("Cache-Control: max-age=1500", "Age: 2000"), 0, false},
		"max-stale does not hurt":               {head("Cache-Control: max-stale=1000"), head("Cache-Control: max-age=9"), 2, true},
		"stale-if-error does not help":          {head("Cache-Control: stale-if-error=1000"), head("Cache-Control: max-age=1"), 2, false},
		"only-if-cached does not help":          {head("Cache-Control: only-if-cached"), head("Cache-Control: max-age=1"), 2, false},
		"more is asked than is read":            {head("Cache-Control: " + strings.Repeat("a=\"\",", 1000)), head("Cache-Control: max-age=3600"), 0, false},
		"no-cache":                              {head("Cache-Control: No-Cache"), head("Cache-Control: max-age=3600"), 0, false},
		"no-cache, even if immutable":           {head("Cache-Control: no-cache"), head("Cache-Control: max-age=3600, immutable"), 0, false},
		"no-cache has a value":                  {head("Cache-Control: no-cache=\"a\""), head("Cache-Control: max-age=3600"), 0, false},
		"no-store":                              {head("Cache-Control: no-store"), head("Cache-Control: max-age=3600"), 0, false},
		"a directive nobody knows":              {head("Cache-Control: foobar"), head("Cache-Control: max-age=3600"), 0, true},
		"Pragma: no-cache":                      {head("Pragma: no-cache"), head("Cache-Control: max-age=3600"), 0, false},
		"Pragma beside Cache-Control":           {head("Pragma: no-cache", "Cache-Control: max-age=9"), head("Cache-Control: max-age=3600"), 0, true},
		"a Pragma nobody knows":                 {head("Pragma: foobar"), head("Cache-Control: max-age=3600"), 0, true},
		"Authorization and cookies":             {head("Authorization: Basic eDp5", "Cookie: a=b"), head("Cache-Control: max-age=3600"), 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStored(tt.response, received, received)
			if got := s.fresh(tt.request, received.Add(time.Duration(tt.after)*time.Second)); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
}

func TestFreshByTheClock(t *testing.T) {
	s := newStored(head("Cache-Control: max-age=61", "Age: 1"), received, received)
	for name, tt := range map[string]struct {
		requested, received, now time.Duration // since received
		want                     bool
	}{
		"the answer took long":                     {-60 * time.Second, 0, 0, false},
		"the answer took less than max-age":        {-59 * time.Second, 0, 0, true},
		"the answer came before the question":      {time.Second, 0, 0, false},
		"now is before the answer":                 {0, 0, -time.Nanosecond, false},
		"now is long before the answer":            {0, 0, math.MinInt64, false},
		"now is as long after it as can be":        {0, 0, math.MaxInt64, false},
		"now is, and the answer took long":         {-61 * time.Second, 0, math.MaxInt64, false},
		"the question was as long ago as can be":   {math.MinInt64, 0, 0, false},
		"the answer came as far off as can be":     {0, math.MaxInt64, math.MaxInt64, false},
		"all of it happened as long ago as can be": {math.MinInt64, math.MinInt64, math.MinInt64, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := stored{Requested: received.Add(tt.requested), Received: received.Add(tt.received), Header: s.Header}
			if got := s.fresh(nil, received.Add(tt.now)); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
	t.Run("the monotonic clock does not count", func(t *testing.T) {
		now := time.Now()
		if s := newStored(nil, now, now); s.Requested != now.Round(0).UTC() || s.Received != now.Round(0).UTC() {
			t.Errorf("got %v and %v", s.Requested, s.Received)
		}
	})
}
