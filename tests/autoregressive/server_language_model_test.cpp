#include "autoregressive/server_language_model.h"

#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/support/expect_error.h"
#include "tests/support/tiny_server.h"

namespace lexel::ar {
namespace {

using nlohmann::json;
using tests::expect_error;
using tests::TinyServer;

ServerLanguageModel::Options quick(const std::string& url) {
  ServerLanguageModel::Options options{.url = url};
  options.timeout_s = 5;
  options.connect_timeout_s = 1;
  options.pause_s = 0.01;
  return options;
}

// A model whose tokens are two characters each and whose ln p of a token is minus its first letter's place in the alphabet.
double value_of(const std::string& token) { return token[0] < 'a' ? -30.0 : -(token[0] - 'a'); }

std::string completion(const std::string& text, const json& log_probabilities) {
  json choice;
  choice["text"] = text;
  choice["logprobs"] = log_probabilities;
  json reply;
  reply["choices"].push_back(choice);
  return TinyServer::reply(200, reply.dump());
}

std::string echo_reply(const std::string& text) {
  json lists = {
      {"tokens", json::array()}, {"token_logprobs", json::array()}, {"text_offset", json::array()}};
  for (size_t i = 0; i < text.size(); i += 2) {
    const std::string token = text.substr(i, 2);
    lists["tokens"].push_back(token);
    lists["token_logprobs"].push_back(i == 0 ? json() : json(value_of(token)));
    lists["text_offset"].push_back(i);
  }
  lists["tokens"].push_back("!!");  // what was written
  lists["token_logprobs"].push_back(-1);
  lists["text_offset"].push_back(text.size());
  return completion(text + "!!", lists);
}

TEST(ServerLanguageModel, ScoresWhatTheServerEchoes) {
  const TinyServer server(
      [](const std::string& body) { return echo_reply(json::parse(body)["prompt"]); });
  ServerLanguageModel::Options options = quick(server.url() + "/");
  options.model = "tiny";
  options.key = "secret";
  ServerLanguageModel model(options);
  const auto scores = model.score("PROMPT", {"bxcx", "dx"});
  ASSERT_EQ(scores.size(), 2);
  EXPECT_EQ(scores[0].log_probabilities, (std::vector<double>{-1, -2}));
  EXPECT_EQ(scores[1].log_probabilities, (std::vector<double>{-3}));
  EXPECT_EQ(scores[0].total(), -3);
  EXPECT_EQ(scores[0].mean(), -1.5);
  // A token that crosses the border counts.
  EXPECT_EQ(model.score("PROMPTx", {"ycx"})[0].log_probabilities.size(), 2);
  EXPECT_EQ(model.choose("PROMPT", {"dxax", "bxzx", "bxcx"}), 2);
  EXPECT_EQ(model.tokenize("abcd"), (std::vector<std::string>{"ab", "cd"}));
  EXPECT_EQ(model.name(), "tiny at " + server.url());

  const std::string request = server.requests()[0];
  EXPECT_TRUE(request.starts_with("POST /v1/completions HTTP/1.1\r\n")) << request;
  EXPECT_NE(request.find("Authorization: Bearer secret"), std::string::npos);
  const json body = json::parse(request.substr(request.find("\r\n\r\n")));
  EXPECT_EQ(body["model"], "tiny");
  EXPECT_EQ(body["prompt"], "PROMPTbxcx");
  EXPECT_EQ(body["echo"], true);
  EXPECT_EQ(body["max_tokens"], 1);
}

// A server as llama.cpp's own: no echo, and the likeliest tokens as objects.
std::string list_reply(const std::string& body) {
  const json request = json::parse(body);
  if (request.contains("echo"))
    return TinyServer::reply(400, R"({"error":{"message":"Only no echo is supported"}})");
  const std::map<std::string, std::map<std::string, double>> next = {
      {"P", {{" ca", -1}, {" c", -3}, {" d", -0.5}, {"q", -9}}},
      {"P ca", {{"t", -0.25}, {"r", -0.125}, {"\n", -4}}},
      {"P d", {{"og", -2}, {"\n", -4}}},
      {"P cat", {{"\n", -0.0625}}},
      {"P dog", {{"\n", -0.5}}}};
  json tops = json::array();
  const auto found = next.find(request["prompt"].get<std::string>());
  if (found == next.end()) return TinyServer::reply(500, "unexpected prompt");
  for (const auto& [token, value] : found->second)
    tops.push_back({{"token", token}, {"logprob", value}});
  json token, log_probabilities;
  token["token"] = tops[0]["token"];
  token["logprob"] = -1;
  token["top_logprobs"] = tops;
  log_probabilities["content"].push_back(token);
  return completion("x", log_probabilities);
}

TEST(ServerLanguageModel, WalksByTheLikeliestTokensWhereNothingIsEchoed) {
  const TinyServer server(list_reply);
  ServerLanguageModel model(quick(server.url()));
  const auto scores = model.score("P", {" cat\n", " dog\n", " car"});
  EXPECT_EQ(scores[0].log_probabilities, (std::vector<double>{-1, -0.25, -0.0625}));
  EXPECT_EQ(scores[1].log_probabilities, (std::vector<double>{-0.5, -2, -0.5}));
  EXPECT_EQ(scores[2].log_probabilities, (std::vector<double>{-1, -0.125}));
  EXPECT_EQ(model.score("P", {"z"})[0].log_probabilities, std::vector<double>{-9});  // the bound

  std::vector<std::string> many = {" cat\n", " dog\n"};
  for (char c = 'a'; c <= 'z'; ++c) many.push_back(" cow " + std::string(1, c));
  EXPECT_EQ(model.choose("P", many), 1);  // " d" is the likeliest to begin with
  many[1] = " fish\n";
  EXPECT_EQ(model.choose("P", many), 0);
  for (std::string& text : many) text = "z" + text;
  expect_error(ErrorKind::kUnsupported, "lists no token that any of 28 candidates goes on with",
               [&] { model.choose("P", many); });
}

TEST(ServerLanguageModel, Completes) {
  const TinyServer server([](const std::string&) {
    return TinyServer::reply(200, R"({"choices":[{"text":" a cat\nand more","logprobs":null}]})");
  });
  ServerLanguageModel model(quick(server.url()));
  EXPECT_EQ(model.complete("This is", {}), " a cat");
  const json body = json::parse(server.requests()[0].substr(server.requests()[0].find("\r\n\r\n")));
  EXPECT_EQ(body["stop"], json::array({"\n"}));
  EXPECT_EQ(body["max_tokens"], 16);
  EXPECT_FALSE(body.contains("model"));
}

TEST(ServerLanguageModel, SaysThatNothingListens) {
  std::string url;
  {
    const TinyServer gone([](const std::string&) { return ""; });
    url = gone.url();
  }
  ServerLanguageModel model(quick(url));
  expect_error(ErrorKind::kIo, "(3 attempts)", [&] { model.score("a", {"b"}); });
}

TEST(ServerLanguageModel, DoesNotWaitForASlowServerForever) {
  TinyServer* self = nullptr;
  TinyServer server([&](const std::string&) {
    self->wait_ms(3000);
    return std::string();
  });
  self = &server;
  ServerLanguageModel::Options options = quick(server.url());
  options.timeout_s = 0.2;
  options.attempts = 2;
  ServerLanguageModel model(options);
  expect_error(ErrorKind::kIo, "no answer within 0.2 s (2 attempts)",
               [&] { model.score("a", {"b"}); });
}

TEST(ServerLanguageModel, TriesAgainAfterAPassingFault) {
  int calls = 0;
  const TinyServer server([&](const std::string& body) {
    ++calls;
    if (calls == 1) return TinyServer::reply(503, "loading");
    if (calls == 2) return std::string("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"cho");
    return echo_reply(json::parse(body)["prompt"]);
  });
  ServerLanguageModel model(quick(server.url()));
  EXPECT_EQ(model.score("PP", {"bx"})[0].total(), -1);
  EXPECT_EQ(calls, 3);
}

TEST(ServerLanguageModel, NamesWhatIsWrongWithAnAnswer) {
  const auto expect = [](ErrorKind kind, const std::string& message, int status,
                         const std::string& body) {
    const TinyServer server([&](const std::string&) { return TinyServer::reply(status, body); });
    ServerLanguageModel model(quick(server.url()));
    expect_error(kind, message, [&] { model.score("PP", {"bx"}); });
  };
  expect(ErrorKind::kBadData, "its answer is not a completion", 200, "<html>hello</html>");
  expect(ErrorKind::kBadData, "its answer is not a completion", 200, "{\"choices\":[]}");
  expect(ErrorKind::kBadData, "its answer is not a completion", 200, "[1, 2");
  expect(ErrorKind::kUnsupported, "answers without log-probabilities", 200,
         R"({"choices":[{"text":"PPbx!","logprobs":null}]})");
  expect(ErrorKind::kBadData, "log-probabilities that fit no tokens", 200,
         R"({"choices":[{"text":"PPbx","logprobs":{"tokens":["PP","bx"],"token_logprobs":[1]}}]})");
  expect(
      ErrorKind::kBadData, "a log-probability of 2", 200,
      R"({"choices":[{"text":"PPbx","logprobs":{"tokens":["PP","bx"],"token_logprobs":[null,2]}}]})");
  expect(ErrorKind::kIo, "status 404: no such model", 404, R"({"error":"no such\nmodel"})");
  expect(ErrorKind::kIo, "status 401", 401, "");
  expect(ErrorKind::kIo, "status 500: it broke", 500, R"({"error":{"message":"it broke"}})");
}

TEST(ServerLanguageModel, RefusesOptionsOutOfRange) {
  expect_error(ErrorKind::kUsage, "starts with http:// or https://, got file:///etc/passwd",
               [] { ServerLanguageModel model(quick("file:///etc/passwd")); });
  ServerLanguageModel::Options options = quick("http://127.0.0.1:1/v1");
  options.timeout_s = 0;
  expect_error(ErrorKind::kUsage, "time-outs > 0", [&] { ServerLanguageModel model(options); });
  options = quick("http://127.0.0.1:1/v1");
  options.attempts = 0;
  expect_error(ErrorKind::kUsage, "at least 1 attempt",
               [&] { ServerLanguageModel model(options); });
}

}  // namespace
}  // namespace lexel::ar
