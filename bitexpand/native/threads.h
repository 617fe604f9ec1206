// Threads that share a step's rows. To hand rows over through Python's took 40 to 90 us each time and thread.

#include <condition_variable>
#include <csignal>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

using Step = int (*)(const void *job, int top, int bottom, int instructions);

class Threads {
  public:
    // Runs the step on rows from an even `top` on, before `bottom`, in `count` parts of whole pairs of rows, one of them
    // in the thread that calls. Returns 0, or 1 where memory ran out.
    int run(Step step, const void *job, int top, int bottom, int instructions, int count) {
        if (count < 2) return step(job, top, bottom, instructions);
        Call call{step, job, instructions, count - 1, 0, {}};
        const int64_t pairs = (bottom - top) / 2;
        const auto start = [&](int part) { return part < count ? top + static_cast<int>(pairs * part / count) * 2 : bottom; };
        {
            const std::lock_guard<std::mutex> hold(mutex);
            for (int part = 1; part < count; part++) waiting.push_back({&call, start(part), start(part + 1)});
            grow();
        }
        if (count == 2) come.notify_one(); else come.notify_all();
        int failed = step(job, start(0), start(1), instructions);
        std::unique_lock<std::mutex> hold(mutex);
        // What nobody has begun is done here: there may be fewer threads than asked for, or none after a fork.
        for (auto part = own(call); part != waiting.end(); part = own(call)) {
            const Part taken = *part;
            waiting.erase(part);
            hold.unlock();
            failed |= step(job, taken.top, taken.bottom, instructions);
            hold.lock();
            call.left--;
        }
        call.done.wait(hold, [&] { return call.left == 0; });
        return failed | call.failed;
    }

  private:
    struct Call {
        const Step step;
        const void *const job;
        const int instructions;
        int left, failed;  // parts, but for the caller's own
        std::condition_variable done;
    };
    struct Part {
        Call *call;
        int top, bottom;
    };

    std::mutex mutex;
    std::condition_variable come;
    std::deque<Part> waiting;
    size_t idle = 0, count = 0;

    std::deque<Part>::iterator own(const Call &call) {
        auto part = waiting.begin();
        while (part != waiting.end() && part->call != &call) ++part;
        return part;
    }

    // Starts threads for what is waiting, no more than the machine has cores. They hear no signals, which are Python's.
    void grow() {
        sigset_t all, before;
        sigfillset(&all);
        while (idle < waiting.size() && count < std::thread::hardware_concurrency()) {
            pthread_sigmask(SIG_SETMASK, &all, &before);
            try {
                std::thread([this] { serve(); }).detach();
                idle++, count++;
            } catch (const std::system_error &) {
                pthread_sigmask(SIG_SETMASK, &before, nullptr);
                return;
            }
            pthread_sigmask(SIG_SETMASK, &before, nullptr);
        }
    }

    void serve() {
        std::unique_lock<std::mutex> hold(mutex);
        for (;;) {
            come.wait(hold, [this] { return !waiting.empty(); });
            const Part part = waiting.front();
            waiting.pop_front();
            idle--;
            hold.unlock();
            const int failed = part.call->step(part.call->job, part.top, part.bottom, part.call->instructions);
            hold.lock();
            idle++;
            part.call->failed |= failed;
            if (--part.call->left == 0) part.call->done.notify_one();
        }
    }
};
