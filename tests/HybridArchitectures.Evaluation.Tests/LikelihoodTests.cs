using HybridArchitectures.Evaluation.Benchmarks;
using HybridArchitectures.Evaluation.Likelihood;
using HybridArchitectures.Models;
using HybridArchitectures.Tokenization;

namespace HybridArchitectures.Evaluation.Tests;

public sealed class LikelihoodTests : IDisposable
{
    static readonly ByteTokenizer Tokenizer = new(endOfText: true);

    // after 'a' comes 'b', after a blank 'x'; all else is equally likely
    static readonly float[,] Logits = Bigram.Table(Tokenizer.VocabularySize, ('a', 'b', 5), (' ', 'x', 4), ('b', ' ', 3),
        (Tokenizer.EndOfText!.Value, 'a', 2));

    readonly HybridLanguageModel model = Bigram.Create(Logits);

    public void Dispose() => model.Dispose();

    static double Log(params (int After, int Token)[] steps) => steps.Sum(step => Bigram.LogProbability(Logits, step.After, step.Token));

    [Fact]
    public void A_continuation_scores_the_sum_of_its_tokens()
    {
        var scorer = new ContinuationScorer(model, Tokenizer);
        var score = scorer.Score("za", "b x");
        Assert.Equal(Log(('a', 'b'), ('b', ' '), (' ', 'x')), score.LogProbability, 1e-4);
        Assert.True(score is { IsGreedy: true, Tokens: 3 });
        Assert.False(scorer.Score("za", "b y").IsGreedy);
        Assert.Equal(Log(('a', 'b'), ('b', ' '), (' ', 'y')), scorer.Score("za", "b y").LogProbability, 1e-4);
    }

    [Fact]
    public void Blanks_at_the_end_of_a_prompt_belong_to_the_continuation()
    {
        var scorer = new ContinuationScorer(model, Tokenizer);
        Assert.Equal(Log(('b', ' '), (' ', 'x')), scorer.Score("ab ", "x").LogProbability, 1e-4);
        Assert.Equal(scorer.Score("ab", " x"), scorer.Score("ab ", "x"));
        Assert.Equal(Log(('b', '\x1e'), ('\x1e', '\n'), ('\n', 'x')), scorer.Score("ab\x1e\n", "x").LogProbability, 1e-4);
    }

    [Fact]
    public void An_empty_prompt_is_the_token_that_begins_or_ends_a_text()
    {
        var scorer = new ContinuationScorer(model, Tokenizer);
        Assert.Equal(Log((Tokenizer.EndOfText!.Value, 'a'), ('a', 'b')), scorer.Score("", "ab").LogProbability, 1e-4);
        Assert.Equal(Log((Tokenizer.EndOfText!.Value, ' '), (' ', 'a')), scorer.Score(" ", "a").LogProbability, 1e-4);
        Assert.Throws<ArgumentException>(() => new ContinuationScorer(model, new ByteTokenizer()).Score("", "a"));
    }

    [Fact]
    public void Requests_of_many_lengths_score_as_alone_whatever_shares_a_pass()
    {
        (string, string)[] requests = [("a", "b"), ("aaaaaaaaaaaaaaaaaaab", " x"), ("ab ab ab", " ab"), ("q", "rstuvw"), ("b", " ")];
        var alone = requests.Select(request => new ContinuationScorer(model, Tokenizer).Score(request.Item1, request.Item2)).ToArray();
        foreach (int limit in new[] { 1, 30, 1000 })
        {
            var together = new ContinuationScorer(model, Tokenizer, new ScoringOptions { MaxTokensPerPass = limit }).Score(requests);
            for (int i = 0; i < requests.Length; i++)
            {
                Assert.Equal(alone[i].LogProbability, together[i].LogProbability, 1e-4);
                Assert.Equal((alone[i].IsGreedy, alone[i].Tokens), (together[i].IsGreedy, together[i].Tokens));
            }
        }
    }

    [Fact]
    public void A_long_request_loses_the_start_of_its_prompt()
    {
        var scorer = new ContinuationScorer(model, Tokenizer, new ScoringOptions { MaxLength = 2 });
        Assert.Equal(Log(('a', 'b'), ('b', ' ')), scorer.Score("xxxxa", "b ").LogProbability, 1e-4);
        Assert.Contains("a continuation of 3 tokens; expected at most 2", Assert.Throws<ArgumentException>(() => scorer.Score("a", "bbb")).Message);
    }

    [Fact]
    public void Choices_are_made_by_sum_by_characters_and_by_bytes()
    {
        // sums -3, -4, -5; texts of 1, 2 and 2 characters, of 1, 2 and 4 bytes
        var question = new ChoiceQuestion([new("p", " a", "a"), new("p", " bb", "bb"), new("p", " \u00e9\u00e9", "\u00e9\u00e9")], 2);
        var outcome = ChoiceTask.Decide(question, [-3, -4, -5]);
        Assert.Equal((0, 1, 2), (outcome.Chosen, outcome.ChosenByCharacters, outcome.ChosenByBytes));
        // a character outside the basic plane counts once, as in Python
        var wide = new ChoiceQuestion([new("p", " \U0001f600", "\U0001f600"), new("p", " ab", "ab")], 0);
        Assert.Equal(1, ChoiceTask.Decide(wide, [-2, -2.5]).ChosenByCharacters);
        Assert.Equal(0, ChoiceTask.Decide(wide, [-2, -2]).Chosen);
    }

    [Fact]
    public void Accuracy_and_its_standard_error_are_those_by_hand()
    {
        ChoiceQuestion[] questions = [.. new[] { 0, 0, 1, 0 }.Select(answer => ChoiceQuestion.FromChoices("Q", ["xq", "yq"], answer))];
        var result = new ChoiceTask(ChoiceFormats.Generic, questions, Tokenizer).Measure(model);
        // 'x' after a blank is the likelier: three of four are right
        Assert.Equal(0.75, result.Accuracy.Value, 12);
        Assert.Equal(Math.Sqrt((3 * 0.0625 + 0.5625) / 3 / 4), result.Accuracy.StandardError!.Value, 12);
        Assert.Equal(Log(('Q', ' '), (' ', 'x'), ('x', 'q')), result.Outcomes[0].LogProbabilities[0], 1e-4);
    }

    [Fact]
    public void Examples_precede_the_question_and_never_contain_it()
    {
        ChoiceQuestion[] pool = [.. Enumerable.Range(0, 6).Select(i => ChoiceQuestion.FromChoices($"Q{i}", ["x", "y"], i % 2))];
        var shots = new FewShot(pool, 3);
        for (int i = 0; i < pool.Length; i++)
        {
            var parts = shots.Prefix(pool[i], i).Split("\n\n");
            Assert.Equal(4, parts.Length);
            Assert.Equal("", parts[3]);
            Assert.Equal(3, parts[..3].Distinct().Count());
            Assert.DoesNotContain(pool[i].Solved, parts);
            Assert.All(parts[..3], part => Assert.Contains(part, pool.Select(question => question.Solved)));
            Assert.Equal(shots.Prefix(pool[i], i), shots.Prefix(pool[i], i));
        }
        Assert.NotEqual(shots.Prefix(pool[0], 0), (shots with { Seed = 9 }).Prefix(pool[0], 0));
    }

    [Fact]
    public void Completion_is_a_greedy_match_and_a_perplexity()
    {
        CompletionItem[] items = [new("za", "b x"), new("za", "b y")];
        var result = new CompletionTask("last words", items, Tokenizer).Measure(model);
        Assert.Equal(0.5, result.Accuracy.Value, 12);
        double first = -Log(('a', 'b'), ('b', ' '), (' ', 'x')), second = -Log(('a', 'b'), ('b', ' '), (' ', 'y'));
        Assert.Equal((first + second) / 2, result.Loss.Value, 1e-4);
        Assert.Equal(Math.Abs(first - second) / 2, result.Loss.StandardError!.Value, 1e-4);
        Assert.Equal(Math.Exp((first + second) / 2), result.Perplexity, 1e-3 * result.Perplexity);
    }
}
