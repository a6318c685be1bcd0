// Package s3 is the backend in a bucket of an S3-compatible object store: `s3:`. An object's key is the prefix and its
// name; Put and the first Swap are a PUT with If-None-Match: *, every other Swap is one with If-Match.
//
// It stands and falls with servers that keep these conditions. Create tries that out before a store is made.
//
// It speaks to the server itself. The client libraries take any 404 without a readable body for "no such key" (a
// proxy's page, a portal of a hotel), and here certain absence must be told from everything else.
package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"ensync/store/backend"
)

// The bounds of what goes over the wire.
const (
	// MaxObject bounds an object, in bytes: more than the largest pack or index record.
	MaxObject = 64 << 20
	maxState  = 16 << 20 // bounds a mutable object, as package dir does
	maxError  = 64 << 10
	maxPage   = 16 << 20 // of a listing: a thousand keys, escaped
	pageKeys  = 1000
	maxETag   = 256
)

// Style is how a bucket is named in a request.
type Style string

// The styles.
const (
	StyleAuto    Style = "auto"    // virtual for Amazon, path for everybody else
	StylePath    Style = "path"    // https://ENDPOINT/BUCKET/KEY
	StyleVirtual Style = "virtual" // https://BUCKET.ENDPOINT/KEY
)

// Options say where a store lies and how the server is spoken to. Only Endpoint and Bucket must be there.
type Options struct {
	Endpoint   string // host or host:port
	Plain      bool   // http instead of https
	Bucket     string
	Prefix     string // without slashes at either end; may be empty
	Region     string // "": $AWS_REGION, the profile's, the endpoint's, or us-east-1
	Style      Style  // "": StyleAuto
	CA         string // file with certificates to trust instead of the system's; "": $AWS_CA_BUNDLE, or the system's
	SkipVerify bool   // takes any certificate
	Profile    string // of the shared credentials; "": the environment's
	Location   string // for messages

	Getenv  func(string) string // nil: os.Getenv
	Backoff time.Duration       // the first wait before another attempt; 0: 100 ms
	Stall   time.Duration       // how long nothing may move; 0: 30 s
}

// Client is a place in a bucket. It implements backend.Backend.
type Client struct {
	opt       Options
	base      url.URL // of the bucket
	keyPrefix string  // "" or ends with a slash
	region    string
	source    *source
	transport *http.Transport
	gate      *gate
	requests  *requests
	life      context.Context // ends with Close
	end       context.CancelFunc
}

// New returns a client. It connects with nobody.
func New(opt Options) (*Client, error) {
	if opt.Getenv == nil {
		opt.Getenv = os.Getenv
	}
	if opt.Backoff == 0 {
		opt.Backoff = 100 * time.Millisecond
	}
	if opt.Stall == 0 {
		opt.Stall = 30 * time.Second
	}
	if opt.Location == "" {
		opt.Location = "s3:" + strings.TrimSuffix(opt.Endpoint+"/"+opt.Bucket+"/"+opt.Prefix, "/")
	}
	transport, err := newTransport(opt)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", opt.Location, err)
	}
	c := &Client{opt: opt, base: bucketURL(opt), transport: transport, gate: newGate(), requests: &requests{},
		source: newSource(opt.Getenv, opt.Profile)}
	if opt.Prefix != "" {
		c.keyPrefix = opt.Prefix + "/"
	}
	if c.region, err = c.findRegion(); err != nil {
		return nil, fmt.Errorf("open store %s: %w", opt.Location, err)
	}
	c.life, c.end = context.WithCancel(context.Background())
	return c, nil
}

func newTransport(opt Options) (*http.Transport, error) {
	config := &tls.Config{InsecureSkipVerify: opt.SkipVerify}
	ca := opt.CA
	if ca == "" {
		ca = opt.Getenv("AWS_CA_BUNDLE")
	}
	if ca != "" && !opt.Plain {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("certificates: %w; correct ca in the table [s3]", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("certificates %s: no certificate in PEM form; correct ca in the table [s3]", ca)
		}
	}
	// An idle connection is kept, and one whose other end has gone is found out: by the kernel below HTTP/1, by pings
	// in HTTP/2, and by nothing moving in a request (Options.Stall).
	dialer := net.Dialer{Timeout: 15 * time.Second, KeepAliveConfig: net.KeepAliveConfig{Enable: true,
		Idle: 15 * time.Second, Interval: 10 * time.Second, Count: 3}}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		TLSClientConfig:     config,
		TLSHandshakeTimeout: 15 * time.Second,
		MaxIdleConns:        mostAtOnce,
		MaxIdleConnsPerHost: mostAtOnce,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
		WriteBufferSize:     64 << 10,
		ReadBufferSize:      64 << 10,

		MaxResponseHeaderBytes: 256 << 10,
	}, nil
}

func amazon(endpoint string) bool {
	host, _, _ := strings.Cut(endpoint, ":")
	return strings.HasSuffix(host, ".amazonaws.com") || strings.HasSuffix(host, ".amazonaws.com.cn")
}

func bucketURL(opt Options) url.URL {
	u := url.URL{Scheme: "https", Host: opt.Endpoint, Path: "/" + opt.Bucket}
	if opt.Plain {
		u.Scheme = "http"
	}
	// A certificate for *.HOST does not cover a bucket with a dot in its name.
	if opt.Style == StyleVirtual || opt.Style != StylePath && amazon(opt.Endpoint) && !strings.Contains(opt.Bucket, ".") {
		u.Host, u.Path = opt.Bucket+"."+opt.Endpoint, ""
	}
	return u
}

func (c *Client) findRegion() (string, error) {
	for _, region := range []string{c.opt.Region, c.opt.Getenv("AWS_REGION"), c.opt.Getenv("AWS_DEFAULT_REGION")} {
		if region != "" {
			return region, nil
		}
	}
	p, err := c.source.profile()
	if err != nil {
		return "", err
	}
	if p["region"] != "" {
		return p["region"], nil
	}
	// s3.REGION.amazonaws.com, s3.dualstack.REGION.amazonaws.com
	parts := strings.Split(c.opt.Endpoint, ".")
	if amazon(c.opt.Endpoint) && parts[0] == "s3" {
		if region := parts[len(parts)-3]; region != "s3" && region != "amazonaws" {
			return region, nil
		}
	}
	return "us-east-1", nil
}

// Location implements backend.Backend.
func (c *Client) Location() string { return c.opt.Location }

// Close implements backend.Backend.
func (c *Client) Close() error {
	c.end()
	c.transport.CloseIdleConnections()
	return nil
}

// below returns a client for the keys that begin with c's prefix and dir. It is closed with c.
func (c *Client) below(dir string) *Client {
	sub := *c
	sub.keyPrefix += dir
	return &sub
}

func unreachable(err error) error {
	if errors.Is(err, backend.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
}
