package caddymodule

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// administer sends a request to the admin API as Caddy does, by its routes.
func administer(t *testing.T, method, target string) (*httptest.ResponseRecorder, caddy.APIError) {
	t.Helper()
	info, err := caddy.GetModule("admin.api.onebot_meta")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	var failed error
	for _, route := range info.New().(caddy.AdminRouter).Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			failed = route.Handler.ServeHTTP(w, r)
		})
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	apiErr, ok := errors.AsType[caddy.APIError](failed)
	if failed != nil && !ok {
		t.Fatalf("%s %s fails with %v, of which Caddy does not know the status", method, target, failed)
	}
	return w, apiErr
}

func TestTheAdminAPIRefusesWhatItDoesNotKnow(t *testing.T) {
	mustLoad(t, loadable{names: []string{"admin", "admin2"}})
	for request, want := range map[string]struct {
		status int
		allow  string
	}{
		"GET /onebot_meta/x":                               {404, ""},
		"GET /onebot_meta/cache/":                          {404, ""},
		"DELETE /onebot_meta/cache/x":                      {404, ""},
		"DELETE /onebot_meta/caches":                       {404, ""},
		"POST /onebot_meta/":                               {405, "GET"},
		"PUT /onebot_meta/":                                {405, "GET"},
		"DELETE /onebot_meta/":                             {405, "GET"},
		"HEAD /onebot_meta/":                               {405, "GET"},
		"OPTIONS /onebot_meta/":                            {405, "GET"},
		"GET /onebot_meta/cache":                           {405, "DELETE"},
		"GET /onebot_meta/cache?name=admin":                {405, "DELETE"},
		"POST /onebot_meta/cache?name=admin":               {405, "DELETE"},
		"HEAD /onebot_meta/cache":                          {405, "DELETE"},
		"DELETE /onebot_meta/cache?name=":                  {400, ""},
		"DELETE /onebot_meta/cache?name":                   {400, ""},
		"DELETE /onebot_meta/cache?name=admin&name=":       {400, ""},
		"DELETE /onebot_meta/cache?name=admin&name=admin":  {400, ""},
		"DELETE /onebot_meta/cache?name=admin&name=admin2": {400, ""},
		"DELETE /onebot_meta/cache?name=admin&x=1":         {400, ""},
		"DELETE /onebot_meta/cache?names=admin":            {400, ""},
		"DELETE /onebot_meta/cache?Name=admin":             {400, ""},
		"DELETE /onebot_meta/cache?admin":                  {400, ""},
		"DELETE /onebot_meta/cache?name=admin;x":           {400, ""},
		"DELETE /onebot_meta/cache?name=%zz":               {400, ""},
		"DELETE /onebot_meta/cache?%zz":                    {400, ""},
		"DELETE /onebot_meta/cache?name=nobody":            {404, ""},
		"DELETE /onebot_meta/cache?name=Admin":             {404, ""},
		"DELETE /onebot_meta/cache?name=admin%20":          {404, ""},
		"DELETE /onebot_meta/cache?name=*":                 {404, ""},
		"DELETE /onebot_meta/cache?name=../admin":          {404, ""},
	} {
		method, target, _ := strings.Cut(request, " ")
		w, err := administer(t, method, target)
		status := err.HTTPStatus
		if status == 0 {
			status = w.Code
		}
		if got := w.Header().Get("Allow"); status != want.status || got != want.allow {
			t.Errorf("%s: status %d, Allow %q, want %d, %q", request, status, got, want.status, want.allow)
		}
		if err.HTTPStatus != 0 && (err.Err == nil || err.Err.Error() == "" || w.Body.Len() > 0) {
			t.Errorf("%s: the error is %v, and the body %s", request, err.Err, w.Body)
		}
	}
}

func TestTheAdminAPITellsOfWhatRuns(t *testing.T) {
	provision(t, nil) // which runs in no config
	for _, tt := range []struct {
		names         []string
		status, purge string
	}{
		{[]string{}, "", ""},
		{[]string{"admin.b", "admin.a", "admin.b"}, "admin.a admin.b admin.b", "admin.a admin.b"},
		{[]string{"admin.c"}, "admin.c", "admin.c"},
	} {
		mustLoad(t, loadable{names: tt.names})
		wantNames(t, "GET", "/onebot_meta/", tt.status)
		wantNames(t, "DELETE", "/onebot_meta/cache", tt.purge)
	}
	wantNames(t, "DELETE", "/onebot_meta/cache?name=admin.c", "admin.c")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	wantNames(t, "GET", "/onebot_meta/", "")
	wantNames(t, "DELETE", "/onebot_meta/cache", "")
}

// wantNames fails the test unless the admin API answers with an array of what
// has some names, in any order for a purge.
func wantNames(t *testing.T, method, target, want string) {
	t.Helper()
	w, err := administer(t, method, target)
	if err.Err != nil || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%s %s: %v, %v", method, target, err.Err, w.Header())
	}
	var all []struct{ Name string }
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil || all == nil {
		t.Fatalf("%s %s: %v in %s", method, target, err, w.Body)
	}
	names := []string{}
	for _, one := range all {
		names = append(names, one.Name)
	}
	if method == "DELETE" {
		slices.Sort(names)
	}
	if got := strings.Join(names, " "); got != want {
		t.Errorf("%s %s tells of %q, want %q", method, target, got, want)
	}
}
