// Preloaded into DynamoDB Local, which listens on every address and has no option not to: what it binds to every address
// is bound to loopback instead.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

int bind(int socket, const struct sockaddr *address, socklen_t length) {
  int (*real)(int, const struct sockaddr *, socklen_t) =
      (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "bind");
  if (address->sa_family == AF_INET && length == sizeof(struct sockaddr_in)) {
    struct sockaddr_in v4;
    memcpy(&v4, address, sizeof v4);
    if (v4.sin_addr.s_addr == htonl(INADDR_ANY)) v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return real(socket, (const struct sockaddr *)&v4, sizeof v4);
  }
  if (address->sa_family == AF_INET6 && length == sizeof(struct sockaddr_in6)) {
    struct sockaddr_in6 v6;
    memcpy(&v6, address, sizeof v6);
    // A socket for both families: IPv4's loopback as IPv6 writes it.
    if (IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr)) {
      static const unsigned char mapped[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1};
      memcpy(&v6.sin6_addr, mapped, sizeof mapped);
    }
    return real(socket, (const struct sockaddr *)&v6, sizeof v6);
  }
  return real(socket, address, length);
}
