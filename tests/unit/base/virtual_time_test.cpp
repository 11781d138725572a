#include "base/virtual_time.h"

#include <catch2/catch.hpp>
#include <sstream>
#include <string>

using namespace rushes;

TEST_CASE("threads take turns by the time they wait for, and the clock jumps") {
  VirtualTime time;
  std::ostringstream order;
  double end = -1;
  time.run({[&] {
              order << "a" << time.now();
              time.sleep(10);
              order << " a" << time.now();
            },
            [&] {
              for (int i = 0; i < 3; ++i) {
                time.sleep(4);
                order << " b" << time.now();
              }
              end = time.now();
            }});
  CHECK(order.str() == "a0 b4 b8 a10 b12");
  CHECK(end == 12);
}

TEST_CASE("many threads that wait make the same history each time") {
  const auto history = [] {
    VirtualTime time;
    std::string log;
    std::vector<std::function<void()>> functions;
    for (int who = 0; who < 50; ++who) {
      functions.emplace_back([&time, &log, who] {
        for (int i = 0; i < 20; ++i) {
          time.sleep((who * 7 + i * 13) % 11);
          log += static_cast<char>('A' + who % 26);
        }
      });
    }
    time.run(functions);
    return log;
  };
  const std::string first = history();
  CHECK(first.size() == 1000);
  CHECK(history() == first);
}

TEST_CASE("an error of one thread is told when the others are through") {
  VirtualTime time;
  bool through = false;
  CHECK_THROWS_AS(time.run({[&] { throw std::runtime_error("x"); },
                            [&] {
                              time.sleep(5);
                              through = true;
                            }}),
                  std::runtime_error);
  CHECK(through);
  time.run({});
}
