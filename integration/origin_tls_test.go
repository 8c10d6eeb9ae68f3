package integration

import (
	"encoding/pem"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// trusted makes a Caddy take the certificate of httptest for a good one. It is
// for 127.0.0.1 and ::1.
func trusted(t testing.TB) option {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	path := filepath.Join(t.TempDir(), "roots.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return environ("SSL_CERT_FILE=" + path)
}

// newTLSOrigin is newOrigin over TLS, and over HTTP/2 if that is wanted.
func newTLSOrigin(t testing.TB, http2 bool) *origin {
	t.Helper()
	o := newOrigin(t)
	o.server = httptest.NewUnstartedServer(o)
	o.server.EnableHTTP2 = http2
	o.server.StartTLS()
	t.Cleanup(func() {
		o.server.CloseClientConnections()
		o.server.Close()
	})
	o.url = o.server.URL
	_, o.port, _ = net.SplitHostPort(o.server.Listener.Addr().String())
	return o
}
