#include "runtime/disk_cache.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

CubinId IdOf(int number) {
  KernelSpec spec;
  spec.key = absl::StrCat("gemv:k=", number, "@sm_90.ptx78");
  spec.ptx = absl::StrCat(".version 7.8 //", number);
  return CubinIdOf(spec, "ptxas 13.0", "sm_90");
}

// Code that depends on the id, of a length that depends on it too.
std::string CodeOf(int number) {
  std::string code;
  for (int i = 0; i < 700 + number % 97; ++i) code += static_cast<char>(i * 31 + number);
  return code;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void WriteFile(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

class DiskCacheTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "ptxsmith_disk_cache_" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::shared_ptr<DiskCache> Open(uint64_t max_bytes = uint64_t{1} << 30) {
    auto cache = DiskCache::Open(
        {folder_, max_bytes, [this](absl::string_view text) { logs_.emplace_back(text); }});
    EXPECT_OK(cache);
    return cache.ok() ? *cache : nullptr;
  }
  std::string PathOf(int number) const {
    return absl::StrCat(folder_, "/", IdOf(number).Name(), ".cubin");
  }
  size_t FileCount() const {
    return static_cast<size_t>(
        std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
  void SetAge(const std::string& path, int64_t seconds) const {
    const timespec time = {std::time(nullptr) - seconds, 0};
    const timespec times[] = {time, time};
    ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0) << path;
  }

  std::string folder_;
  std::vector<std::string> logs_;
};

TEST_F(DiskCacheTest, KeepsCodeForTheNextProcess) {
  folder_ += "/deep/folder";
  {
    const auto cache = Open();
    EXPECT_EQ(cache->Find(IdOf(1)), std::nullopt);
    cache->Store(IdOf(1), CodeOf(1));
    cache->Store(IdOf(2), CodeOf(2));
    EXPECT_EQ(cache->stats().misses, 1u);
    EXPECT_EQ(cache->stats().stored, 2u);
  }
  const auto cache = Open();
  EXPECT_EQ(cache->Find(IdOf(1)), CodeOf(1));
  EXPECT_EQ(cache->Find(IdOf(2)), CodeOf(2));
  EXPECT_EQ(cache->stats().hits, 2u);
  EXPECT_EQ(FileCount(), 2u);
  struct stat info = {};
  ASSERT_EQ(stat(folder_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  ASSERT_EQ(stat(PathOf(1).c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_THAT(logs_, IsEmpty());
}

// Each part of the id by itself makes another entry.
TEST_F(DiskCacheTest, EveryPartOfTheIdCounts) {
  const auto cache = Open();
  cache->Store(IdOf(1), CodeOf(1));
  CubinId other = IdOf(1);
  other.key += "0";
  EXPECT_EQ(cache->Find(other), std::nullopt);
  other = IdOf(1);
  other.ptx_hash[15] ^= 1;
  EXPECT_EQ(cache->Find(other), std::nullopt);
  other = IdOf(1);
  other.compiler = "ptxas 13.1";
  EXPECT_EQ(cache->Find(other), std::nullopt);
  other = IdOf(1);
  other.arch = "sm_90a";
  EXPECT_EQ(cache->Find(other), std::nullopt);
  // The same letters divided in another way.
  other = IdOf(1);
  other.compiler = "ptxas 13.0s";
  other.arch = "m_90";
  EXPECT_NE(other.Name(), IdOf(1).Name());
  EXPECT_EQ(cache->Find(IdOf(1)), CodeOf(1));
}

TEST_F(DiskCacheTest, AFlippedBitOfAnyByteIsDetected) {
  const auto cache = Open();
  cache->Store(IdOf(1), CodeOf(1));
  const std::string good = ReadFile(PathOf(1));
  ASSERT_GT(good.size(), CodeOf(1).size());
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 8)));
    WriteFile(PathOf(1), bad);
    ASSERT_EQ(cache->Find(IdOf(1)), std::nullopt) << "byte " << i;
    ASSERT_FALSE(fs::exists(PathOf(1))) << "byte " << i;
    cache->Store(IdOf(1), CodeOf(1));  // writes 0600 again
  }
  EXPECT_EQ(cache->stats().corrupt, good.size());
  EXPECT_EQ(cache->Find(IdOf(1)), CodeOf(1));
  EXPECT_THAT(logs_.at(40), HasSubstr("cache: removed " + PathOf(1) + ": "));
}

TEST_F(DiskCacheTest, AnyOtherLengthIsDetected) {
  const std::string good = EncodeEntry(IdOf(1), CodeOf(1));
  ASSERT_OK(DecodeEntry(good));
  for (size_t length = 0; length < good.size(); ++length) {
    EXPECT_THAT(DecodeEntry(good.substr(0, length)),
                StatusIs(absl::StatusCode::kDataLoss, testing::_))
        << length;
  }
  EXPECT_THAT(DecodeEntry(good + '\0'),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("its header says")));
  EXPECT_THAT(DecodeEntry(good + good),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("its header says")));
  // A length that asks for more than there is must not be believed.
  std::string huge = good;
  for (size_t i = 12; i < 20; ++i) huge[i] = '\xff';
  EXPECT_THAT(DecodeEntry(huge), StatusIs(absl::StatusCode::kDataLoss, "the entry ends too early"));
}

TEST_F(DiskCacheTest, AnEntryUnderAnothersNameIsRemoved) {
  const auto cache = Open();
  cache->Store(IdOf(1), CodeOf(1));
  fs::rename(PathOf(1), PathOf(2));
  EXPECT_EQ(cache->Find(IdOf(2)), std::nullopt);
  EXPECT_EQ(FileCount(), 0u);
  EXPECT_THAT(logs_, ElementsAre(HasSubstr("it is the entry of gemv:k=1@sm_90.ptx78")));
}

TEST_F(DiskCacheTest, WhatCannotBeReadIsLeftAlone) {
  const auto cache = Open();
  ASSERT_TRUE(fs::create_directory(PathOf(1)));
  ASSERT_EQ(symlink("/etc/passwd", PathOf(2).c_str()), 0);
  cache->Store(IdOf(3), CodeOf(3));
  ASSERT_EQ(chmod(PathOf(3).c_str(), 0666), 0);  // others may have changed it
  for (int i = 1; i <= 3; ++i) EXPECT_EQ(cache->Find(IdOf(i)), std::nullopt) << i;
  EXPECT_EQ(FileCount(), 3u);
  EXPECT_EQ(cache->stats().io_errors, 3u);
  EXPECT_EQ(cache->stats().corrupt, 0u);
  int unreadable = 0;
  for (const DiskCache::Entry& entry : cache->List())
    unreadable += absl::IsUnavailable(entry.status);
  EXPECT_EQ(unreadable, 3);
}

TEST_F(DiskCacheTest, FoldersOfOthersAreRefused) {
  fs::create_directories(folder_);
  ASSERT_EQ(chmod(folder_.c_str(), 0777), 0);
  EXPECT_THAT(DiskCache::Open({folder_}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("others may write it")));
  ASSERT_EQ(chmod(folder_.c_str(), 0755), 0);
  EXPECT_OK(DiskCache::Open({folder_}));
  EXPECT_THAT(DiskCache::Open({"/dev/null"}),
              StatusIs(absl::StatusCode::kFailedPrecondition, "/dev/null is no folder"));
  EXPECT_THAT(DiskCache::Open({"/dev/null/folder"}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("/dev/null/folder")));
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a folder to somebody else";
  ASSERT_EQ(chown(folder_.c_str(), 12345, static_cast<gid_t>(-1)), 0);
  EXPECT_THAT(DiskCache::Open({folder_}), StatusIs(absl::StatusCode::kFailedPrecondition,
                                                   HasSubstr("belongs to another user")));
}

// The limit on the size of files acts as a full disk does.
TEST_F(DiskCacheTest, AFullDiskStopsWritingAndSaysSoOnce) {
  const auto cache = Open();
  cache->Store(IdOf(1), CodeOf(1));
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit tiny = {100, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tiny), 0);
  cache->Store(IdOf(2), CodeOf(2));
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
  cache->Store(IdOf(3), CodeOf(3));  // the disk has room again, which nobody asks
  EXPECT_EQ(cache->Find(IdOf(1)), CodeOf(1));
  EXPECT_EQ(cache->Find(IdOf(2)), std::nullopt);
  EXPECT_EQ(cache->Find(IdOf(3)), std::nullopt);
  EXPECT_EQ(FileCount(), 1u) << "a piece of an entry was left";
  EXPECT_THAT(logs_, ElementsAre(HasSubstr("nothing more will be kept")));
}

TEST_F(DiskCacheTest, AReadOnlyFolderIsStillRead) {
  Open()->Store(IdOf(1), CodeOf(1));
  if (geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  ASSERT_EQ(chmod(folder_.c_str(), 0500), 0);
  const auto cache = Open();
  cache->Store(IdOf(2), CodeOf(2));
  cache->Store(IdOf(3), CodeOf(3));
  EXPECT_EQ(cache->Find(IdOf(1)), CodeOf(1));
  EXPECT_THAT(logs_, ElementsAre(HasSubstr("nothing more will be kept")));
  chmod(folder_.c_str(), 0700);
}

TEST_F(DiskCacheTest, AFolderThatVanishesIsNoFault) {
  const auto cache = Open();
  fs::remove_all(folder_);
  cache->Store(IdOf(1), CodeOf(1));
  cache->Store(IdOf(2), CodeOf(2));
  EXPECT_EQ(cache->Find(IdOf(1)), std::nullopt);
  EXPECT_THAT(cache->List(), IsEmpty());
  EXPECT_THAT(logs_, ElementsAre(HasSubstr("No such file or directory")));
}

TEST_F(DiskCacheTest, WhatIsUnusedForLongestGoesFirst) {
  constexpr int kDay = 24 * 3600;
  {
    const auto cache = Open();
    for (int i = 0; i < 10; ++i) {
      cache->Store(IdOf(i), CodeOf(0));
      SetAge(PathOf(i), (20 - i) * kDay);
    }
    EXPECT_EQ(cache->Find(IdOf(0)), CodeOf(0));  // used now
  }
  const uint64_t each = fs::file_size(PathOf(0));
  const auto cache = Open(9 * each);  // 7 remain
  cache->Store(IdOf(10), CodeOf(0));
  EXPECT_EQ(cache->stats().evicted, 4u);
  for (int i = 0; i <= 10; ++i) {
    EXPECT_EQ(fs::exists(PathOf(i)), i == 0 || i > 4) << i;
  }
}

TEST_F(DiskCacheTest, ALongRunSweepsAgain) {
  const auto cache = Open(20 * 1000);
  for (int i = 0; i < 200; ++i) cache->Store(IdOf(i), CodeOf(i));
  EXPECT_LT(FileCount(), 23u);
  EXPECT_GT(FileCount(), 10u);
}

TEST_F(DiskCacheTest, WhatKilledProcessesLeftIsSweptWhenItIsOld) {
  const auto cache = Open();
  WriteFile(folder_ + "/.a-1-2.tmp", "old");
  WriteFile(folder_ + "/.b-1-2.tmp", "new");
  SetAge(folder_ + "/.a-1-2.tmp", 3700);
  cache->Sweep();
  EXPECT_FALSE(fs::exists(folder_ + "/.a-1-2.tmp"));
  EXPECT_TRUE(fs::exists(folder_ + "/.b-1-2.tmp"));
}

TEST_F(DiskCacheTest, ListsAndRemoves) {
  const auto cache = Open();
  for (int i = 1; i <= 3; ++i) cache->Store(IdOf(i), CodeOf(i));
  WriteFile(PathOf(2), "short");
  SetAge(PathOf(1), 10 * 24 * 3600);
  std::vector<DiskCache::Entry> entries = cache->List();
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_THAT(entries[0].status, StatusIs(absl::StatusCode::kDataLoss, testing::_));
  EXPECT_EQ(entries[1].id, IdOf(1));
  EXPECT_EQ(entries[2].id, IdOf(3));
  EXPECT_EQ(entries[2].file_bytes, fs::file_size(PathOf(3)));
  EXPECT_LT(entries[1].used, std::time(nullptr) - 9 * 24 * 3600) << "listing is no use";
  EXPECT_EQ(FileCount(), 3u);
  entries.pop_back();
  const uint64_t expected = entries[0].file_bytes + entries[1].file_bytes;
  EXPECT_THAT(cache->Remove(entries), IsOkAndHolds(expected));
  EXPECT_EQ(FileCount(), 1u);
}

// Kills processes in the middle of their writes.
TEST_F(DiskCacheTest, KilledWritersLeaveNothingThatLoadsWrong) {
  constexpr int kIds = 8;
  constexpr int kKills = 1000;
  const auto cache = Open();
  std::mt19937 random(1);
  int found = 0;
  for (int round = 0; round < kKills; ++round) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto mine = DiskCache::Open({folder_});
      for (int i = round; mine.ok(); ++i) (*mine)->Store(IdOf(i % kIds), CodeOf(i % kIds));
      _exit(1);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
    ASSERT_EQ(kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    for (int i = 0; i < kIds; ++i) {
      const auto code = cache->Find(IdOf(i));
      if (!code.has_value()) continue;
      ++found;
      ASSERT_EQ(*code, CodeOf(i)) << "round " << round;
    }
  }
  EXPECT_GT(found, 0);
  EXPECT_EQ(cache->stats().corrupt, 0u) << "an entry appeared before it was whole";
  for (const auto& file : fs::directory_iterator(folder_)) {
    if (file.path().extension() == ".tmp") SetAge(file.path().string(), 3700);
  }
  cache->Sweep();
  EXPECT_LE(FileCount(), size_t{kIds});
}

TEST_F(DiskCacheTest, ProcessesAtOnceSeeWholeEntriesOnly) {
  constexpr int kProcesses = 4;
  constexpr int kRounds = 300;
  std::vector<pid_t> children;
  for (int p = 0; p < kProcesses; ++p) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      bool good = true;
      // A bound that makes them sweep each other's entries all the time.
      const auto mine = DiskCache::Open({folder_, 5000, [](absl::string_view) {}});
      for (int i = 0; mine.ok() && i < kRounds; ++i) {
        const int number = (i * 7 + p) % 10;
        (*mine)->Store(IdOf(number), CodeOf(number));
        const auto code = (*mine)->Find(IdOf((number + 3) % 10));
        good &= !code.has_value() || *code == CodeOf((number + 3) % 10);
      }
      _exit(mine.ok() && good && (*mine)->stats().corrupt == 0 && (*mine)->stats().io_errors == 0
                ? 0
                : 1);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
}

}  // namespace
}  // namespace ptxsmith
