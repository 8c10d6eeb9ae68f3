package caddymodule

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// tokens are the access tokens of a handler. Only their digests are kept, all
// of one length, so that comparing them takes the same time whatever is sent.
type tokens [][sha256.Size]byte

// newTokens expands the placeholders of configured tokens. What it returns as
// an error shows no part of any token.
func newTokens(configured []string) (tokens, error) {
	var t tokens
	for i, token := range configured {
		token, err := expand(token)
		if err != nil {
			return nil, fmt.Errorf("access_token number %d %w", i+1, err)
		}
		if strings.TrimSpace(token) != token || token == "" {
			return nil, fmt.Errorf("access_token number %d is empty, or has white space around it", i+1)
		}
		t = append(t, sha256.Sum256([]byte(token)))
	}
	return t, nil
}

// expand returns an option with its placeholders expanded. What it returns as an
// error shows no part of it.
func expand(configured string) (string, error) {
	expanded, err := caddy.NewReplacer().ReplaceOrErr(configured, true, true)
	if err != nil {
		return "", errors.New("has a placeholder that is unknown or empty; " +
			`set what it names, or write \{ for a plain brace`)
	}
	return expanded, nil
}

// authorize reports whether r carries one of the tokens, or none is needed,
// and else why it is refused.
func (t tokens) authorize(r *http.Request) (why refusal, ok bool) {
	if len(t) == 0 {
		return refusal{}, true
	}
	sent := sentTokens(r)
	if slices.ContainsFunc(sent, t.contain) {
		return refusal{}, true
	}
	if len(sent) == 0 {
		return errUnauthorized, false
	}
	return errForbidden, false
}

func (t tokens) contain(token string) bool {
	sum := sha256.Sum256([]byte(token))
	found := 0
	for _, known := range t {
		found |= subtle.ConstantTimeCompare(sum[:], known[:])
	}
	return found == 1
}

// sentTokens returns the tokens that r carries: at most one in Authorization,
// behind any scheme word or none, as go-cqhttp reads it, and one in the query.
func sentTokens(r *http.Request) []string {
	var sent []string
	header := strings.TrimSpace(r.Header.Get("Authorization"))
	if i := strings.IndexAny(header, " \t"); i >= 0 {
		sent = append(sent, strings.TrimSpace(header[i:]))
	} else if header != "" && !strings.EqualFold(header, "Bearer") {
		sent = append(sent, header)
	}
	if r.URL.RawQuery != "" {
		// a query that is malformed elsewhere may still have the token
		query, _ := url.ParseQuery(r.URL.RawQuery)
		if token := query.Get("access_token"); token != "" {
			sent = append(sent, token)
		}
	}
	return sent
}
