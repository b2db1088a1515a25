/* Connects COUNT times to ADDRESS PORT, echoes one byte, and closes. Compiled with musl-gcc. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  struct sockaddr_in destination = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
  inet_pton(AF_INET, argv[1], &destination.sin_addr);
  for (int i = 0; i < atoi(argv[3]); ++i) {
    char byte = 'x';
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr*)&destination, sizeof destination) != 0 ||
        write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1 || close(fd) != 0) {
      perror("musl_client");
      return 1;
    }
  }
  return 0;
}
