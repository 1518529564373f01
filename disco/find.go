package disco

import (
	"context"
	"sync"
	"time"

	"github.com/confab-im/confab"
)

// How services are asked: so many at once, each for so long. A server may have
// dozens, and one that is configured and does not run must not hold up the others.
const (
	maxServices  = 200
	atOnce       = 8
	servicePause = 10 * time.Second
)

// A Service is the own server, or a service that it names, and what it can do.
type Service struct {
	Item
	Info Info
}

// Services asks the own server, and all services that it names, what they are. Those
// that do not answer within ten seconds, or refuse, are left out. The server itself
// comes first, the others in its order.
func Services(ctx context.Context, s confab.Requester) ([]Service, error) {
	all, _, err := services(ctx, s)
	return all, err
}

// services also reports whether all have answered.
func services(ctx context.Context, s confab.Requester) (found []Service, complete bool, err error) {
	self := s.LocalAddr().Domain()
	items := []Item{{JID: self}}
	for it, err := range Items(ctx, s, self, "", Limit(maxServices)) {
		if err != nil {
			return nil, false, err
		}
		// What has a user or a node is no service; some servers list administrators.
		if it.Node == "" && it.JID.Localpart() == "" && it.JID.Resourcepart() == "" && !it.JID.Equal(self) {
			items = append(items, it)
		}
	}
	infos, errs := make([]Info, len(items)), make([]error, len(items))
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i, it := range items {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, servicePause)
			defer cancel()
			infos[i], errs[i] = GetInfo(ctx, s, it.JID, "")
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, false, ctx.Err()
	}
	complete = true
	for i, it := range items {
		switch {
		case errs[i] == nil:
			found = append(found, Service{it, infos[i]})
		case over(errs[i]):
			return nil, false, errs[i]
		default:
			complete = false
		}
	}
	return found, complete, nil
}

// Find returns the services of the own server that have a feature, named by its
// namespace; the server itself may be among them. None is no error.
func Find(ctx context.Context, s confab.Requester, feature string) ([]Service, error) {
	all, err := Services(ctx, s)
	return having(all, feature), err
}

func having(all []Service, feature string) []Service {
	var found []Service
	for _, sv := range all {
		if sv.Info.Has(feature) {
			found = append(found, sv)
		}
	}
	return found
}

// FindIdentity returns the services of the own server with this identity, such as
// conference, text. An empty type matches any. None is no error.
func FindIdentity(ctx context.Context, s confab.Requester, category, typ string) ([]Service, error) {
	all, err := Services(ctx, s)
	return being(all, category, typ), err
}

func being(all []Service, category, typ string) []Service {
	var found []Service
	for _, sv := range all {
		if _, ok := sv.Info.Identity(category, typ); ok {
			found = append(found, sv)
		}
	}
	return found
}
