/* client ADDRESS PORT COUNT [THREADS]: each thread connects COUNT times, echoes one byte, closes.
   Compiled with musl-gcc, for 32 bits, and run under valgrind. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in destination = {.sin_family = AF_INET};
static int count;

static void* run(void* unused) {
  for (int i = 0; i < count; ++i) {
    char byte = 'x';
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr*)&destination, sizeof destination) != 0 ||
        write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1 || close(fd) != 0) {
      perror("plain_client");
      exit(1);
    }
  }
  return unused;
}

int main(int argc, char** argv) {
  pthread_t threads[16];
  if (argc < 4 || argc > 5) return 2;
  inet_pton(AF_INET, argv[1], &destination.sin_addr);
  destination.sin_port = htons(atoi(argv[2]));
  count = atoi(argv[3]);
  const int others = argc == 5 ? atoi(argv[4]) - 1 : 0;
  if (others < 0 || others > 16) return 2;
  for (int i = 0; i < others; ++i) {
    if (pthread_create(&threads[i], NULL, run, NULL) != 0) return 1;
  }
  run(NULL);
  for (int i = 0; i < others; ++i) pthread_join(threads[i], NULL);
  return 0;
}
