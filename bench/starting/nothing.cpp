// A program of the C library's alone that does nothing: what bench/starting/starting.py starts.
int main() { return 0; }
