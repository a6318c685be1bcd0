package s3test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"time"
)

// Fault is what goes wrong with one request.
type Fault int

// The faults.
const (
	None          Fault = iota
	LostRequest         // the connection ends before anything is done
	LostAnswer          // it is done, and the connection ends
	InternalError       // 500, nothing done
	ErrorAfter          // 500, and done all the same
	SlowDown            // 503, nothing done
	Conflict            // 409 ConditionalRequestConflict, nothing done
	Truncated           // the answer's body ends in the middle
	NotFoundPage        // 404 with HTML, as of a proxy
	DeniedPage          // 403 with HTML, as of a portal
	OKPage              // 200 with HTML, as of a portal
	BareNotFound        // 404 without a body
	Denied              // 403 AccessDenied
	Full                // 507
	Stall               // nothing comes
	GatewayPage         // 502 with HTML
	BucketGone          // 404 NoSuchBucket
	Expired             // 403 ExpiredToken
)

const html = "<!doctype html><html><head><title>Welcome</title></head><body>Please <b>log in<br></body></html>"

// before does what goes wrong before the request is done. true: nothing more is to happen.
func (f Fault) before(w http.ResponseWriter, r *http.Request) bool {
	page := func(status int, body string) bool {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		w.Write([]byte(body))
		return true
	}
	xml := func(status int, code string) bool { fail(w, status, code); return true }
	switch f {
	case LostRequest:
		panic(http.ErrAbortHandler)
	case InternalError:
		return xml(http.StatusInternalServerError, "InternalError")
	case SlowDown:
		return xml(http.StatusServiceUnavailable, "SlowDown")
	case Conflict:
		return xml(http.StatusConflict, "ConditionalRequestConflict")
	case NotFoundPage:
		return page(http.StatusNotFound, html)
	case DeniedPage:
		return page(http.StatusForbidden, html)
	case OKPage:
		return page(http.StatusOK, html)
	case GatewayPage:
		return page(http.StatusBadGateway, html)
	case BareNotFound:
		return page(http.StatusNotFound, "")
	case Denied:
		return xml(http.StatusForbidden, "AccessDenied")
	case Full:
		return xml(http.StatusInsufficientStorage, "XMinioStorageFull")
	case BucketGone:
		return xml(http.StatusNotFound, "NoSuchBucket")
	case Expired:
		return xml(http.StatusForbidden, "ExpiredToken")
	case Stall:
		select {
		case <-r.Context().Done():
		case <-time.After(20 * time.Second):
		}
		panic(http.ErrAbortHandler)
	}
	return false
}

// after sends the answer, or what is left of it.
func (f Fault) after(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	body := answer.Body.Bytes()
	switch f {
	case LostAnswer:
		panic(http.ErrAbortHandler)
	case ErrorAfter:
		fail(w, http.StatusInternalServerError, "InternalError")
		return
	case Truncated:
		if len(body) == 0 {
			panic(http.ErrAbortHandler)
		}
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	if f == Truncated {
		if answer.Header().Get("Content-Length") == "" {
			w.(http.Flusher).Flush()
		}
		w.Write(body[:len(body)/2])
		panic(http.ErrAbortHandler)
	}
	w.Write(body)
}
