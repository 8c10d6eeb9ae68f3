package fetch

import (
	"crypto/sha256"
	"net/http"
	"net/url"
	"strings"

	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
)

// key tells requests apart whose answers must not be taken for each other:
// by URL, headers, what the egress policy was, and the extension that the file
// is to have. Since all headers count, what an origin says in Vary needs no
// look, except "*".
func (c *Client) key(u *url.URL, header http.Header, ext string) diskcache.Key {
	digest := sha256.New()
	canonical := *u
	canonical.Host, canonical.User, canonical.Fragment, canonical.RawFragment = strings.ToLower(u.Host), nil, "", ""
	for _, part := range []string{c.opts.Policy, ext, canonical.String()} {
		digest.Write([]byte(part))
		digest.Write([]byte{0}) // which none of them has
	}
	_ = header.Write(digest) // sorted; userinfo is in Authorization
	return diskcache.Key(digest.Sum(nil))
}
