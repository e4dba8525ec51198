using HybridArchitectures.Chat;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Design;
using HybridArchitectures.Evaluation.Benchmarks;
using HybridArchitectures.Evaluation.Inside;
using HybridArchitectures.Evaluation.Likelihood;
using HybridArchitectures.Evaluation.Recall;
using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Evaluation.Sweeps;
using HybridArchitectures.Generation;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Reports.Drawing;
using HybridArchitectures.Review;
using HybridArchitectures.Sequence;
using HybridArchitectures.Storage;
using HybridArchitectures.Tokenization;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Logging;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;
using Microsoft.Extensions.AI;
using static TorchSharp.torch;

namespace HybridArchitectures.Reports.Tests.Arguments;

/// <summary>Tests that every public method refuses a null item of a list by the name of the argument and its index.</summary>
public sealed class NullItemTests : IDisposable
{
    static readonly HybridDesign Design = HybridDesign.Create(16, 257).WithAttention(2).WithMamba2(8, 8).Pattern("TM").Build();

    readonly TemporaryFolder folder = new();
    readonly TorchSharp.DisposeScope scope = NewDisposeScope();
    readonly HybridLanguageModel model = Design.CreateModel(seed: 1);
    readonly ByteTokenizer tokenizer = new(endOfText: true);
    readonly Dictionary<string, Action> calls;

    // lists in which null has a meaning
    static readonly string[] Nullable =
    [
        "Autograd.Apply(inputs)", "ForwardContext.Save(tensors)", "HybridCache.new(states)", "ChatTemplate.FromFolder(variables)",
        "BenchmarkRecord.new(values)", "EquatableList.Equals(other)",
    ];

    // methods that other types implement or that only pass the list on to a checked one
    static readonly string[] Forwarded = ["Collectives.AllReduce(tensors)"];

    public NullItemTests()
    {
        calls = [];
        foreach (var (name, call) in Designs().Concat(Models()).Concat(Files()).Concat(Data()).Concat(Measurements())) calls.Add(name, call);
    }

    public void Dispose()
    {
        model.Dispose();
        scope.Dispose();
        folder.Dispose();
    }

    string InFolder(string name) => System.IO.Path.Combine(folder.Path, name);

    static IEnumerable<(string, Action)> Designs()
    {
        PatternBlock[] blocks = [new("T", PatternFeedForward.Usual), null!];
        yield return ("AttentionIndices.Print(blocks)", () => AttentionIndices.Print(blocks));
        yield return ("BlockPattern.Print(blocks)", () => BlockPattern.Print([Design.Blocks[0], null!]));
        yield return ("HybridDesignBuilder.Blocks(blocks)", () => HybridDesign.Create(8, 9).Blocks(blocks));
        yield return ("LayerTypes.Parse(words)", () => LayerTypes.Parse(["attention", null!]));
        yield return ("LayerTypes.Print(blocks)", () => LayerTypes.Print(blocks));
        yield return ("MegatronPattern.Print(blocks)", () => MegatronPattern.Print(blocks));
        yield return ("PeriodPattern.From(blocks)", () => PeriodPattern.From(blocks));
        yield return ("RepeatedPattern.From(blocks)", () => RepeatedPattern.From(blocks));
        var kinds = new Dictionary<string, string> { ["a"] = "T", ["b"] = null! };
        yield return ("RepeatedPattern.Parse(names)", () => RepeatedPattern.Parse(2, ["a", null!], kinds));
        yield return ("RepeatedPattern.Parse(kinds)", () => RepeatedPattern.Parse(2, ["a"], kinds));
        yield return ("RepeatedPattern.Parse(overrides)", () => RepeatedPattern.Parse(
            2, ["a"], new Dictionary<string, string> { ["a"] = "T" }, new Dictionary<int, string> { [1] = null! }));
    }

    IEnumerable<(string, Action)> Models()
    {
        var generator = new TextGenerator(model, tokenizer);
        yield return ("TextGenerator.Generate(prompts)", () => generator.Generate(["a", null!]));
        yield return ("TextGenerator.Generate(prompts) of tokens", () => generator.Generate([[1], null!]));
        yield return ("TextGenerator.StreamAsync(prompts)", () => generator.StreamAsync(["a", null!]));
        yield return ("TextGenerator.StreamAsync(prompts) of tokens", () => generator.StreamAsync([[1], null!]));
        yield return ("PredictionHead.Create(blocks)", () => PredictionHead.Create(model, [Design.Blocks[0], null!]));
        yield return ("LogitsProcessor.Apply(history)", () => new TopK(1).Apply(ones(2, 3), [[1], null!]));
        ChatMessage[] messages = [new(ChatRole.User, "a"), null!];
        var client = new HybridChatClient(model, tokenizer);
        yield return ("HybridChatClient.GetResponseAsync(messages)", () => client.GetResponseAsync(messages).GetAwaiter().GetResult());
        yield return ("HybridChatClient.GetStreamingResponseAsync(messages)", () => client.GetStreamingResponseAsync(messages));
        ChatMessage[] turns = [new(ChatRole.User, "a"), null!];
        yield return ("ChatTemplate.Encode(messages)", () => ChatTemplate.Plain(tokenizer).Encode(turns));
        yield return ("ChatTemplate.new(stop)", () => _ = new ChatTemplate(_ => [1], null, "a", null!));
        yield return ("Llama3Tokenizer.FormatChat(messages)", () => Llama3Tokenizer.FormatChat(turns));
        yield return ("Block.new(transformers)", () => _ = new Block(new ModuleFactory(Design, CPU, 1), Design.Blocks[0], [null!]));
        yield return ("SequenceLayout.Packed(documentLengths)", () => SequenceLayout.Packed([[1], null!], 2));
        yield return ("Autograd.Backward(outputs)", () => Autograd.Backward([ones(1), null!], [ones(1), ones(1)]));
        yield return ("Autograd.Backward(gradients)", () => Autograd.Backward([ones(1), ones(1)], [ones(1), null!]));
        yield return ("LoadBalance.Loss(logits)", () => LoadBalance.Loss([ones(2, 2), null!], 1));
        var state = new KeyValueState(1, 2, 8, 8, ScalarType.Float32, CPU);
        yield return ("KeyValueState.Restore(saved)", () => state.Restore([ones(1, 1, 2, 8), null!], [1]));
        yield return ("MixerState.Restore(saved)", () => new ConvolutionState(ones(1, 2, 3)).Restore([null!], [1]));
        yield return ("StatePair.Restore(saved)", () => new CombinedState(state, state).Restore([ones(1, 1, 2, 8), null!], [1]));
        yield return ("StateSnapshot.new(tensors)", () => _ = new StateSnapshot([ones(1), null!]));
        yield return ("StateSnapshot.new(parts)", () => _ = new StateSnapshot([ones(1)], [null!]));
        yield return ("PretrainedModel.Rename(state)", () => PretrainedModel.Rename(
            Design, "llama", new Dictionary<string, Tensor> { ["a"] = null! }));
    }

    IEnumerable<(string, Action)> Files()
    {
        string tensors = InFolder("x.safetensors"), ranks = InFolder("ranks");
        SafetensorsFile.Write(tensors, new Dictionary<string, Tensor> { ["x"] = ones(1) });
        File.WriteAllLines(ranks, Enumerable.Range(0, 256).Select(i => $"{Convert.ToBase64String([(byte)i])} {i}"));
        yield return ("AtomicWrite.Folder(files)", () => AtomicWrite.Folder(InFolder("new"), _ => { }, ["a", null!]));
        yield return ("SafetensorsFile.Write(tensors)", () => SafetensorsFile.Write(
            tensors, new Dictionary<string, Tensor> { ["x"] = ones(1), ["y"] = null! }));
        yield return ("SafetensorsFile.Write(metadata)", () => SafetensorsFile.Write(
            tensors, new Dictionary<string, Tensor> { ["x"] = ones(1) }, new Dictionary<string, string> { ["a"] = null! }));
        yield return ("SafetensorsFile.ReadInto(targets)", () =>
        {
            using var file = SafetensorsFile.Open(tensors);
            file.ReadInto(new Dictionary<string, Tensor> { ["x"] = null! });
        });
        yield return ("Llama3Tokenizer.FromRankFile(specialTokens)", () => Llama3Tokenizer.FromRankFile(ranks, ["a", null!]));
        yield return ("Llama3Tokenizer.EncodeChat(messages)", () => Llama3Tokenizer.FromRankFile(ranks)
            .EncodeChat([new ChatMessage(ChatRole.User, "a"), null!]));
        yield return ("TokenShards.Write(files)", () => TokenShards.Write([tensors, null!], InFolder("shards"), tokenizer));
        yield return ("DocumentationCorpus.FromFiles(files)", () => DocumentationCorpus.FromFiles([ranks, null!]));
        yield return ("Sweep.Merge(sources)", () => Sweep.Merge([folder.Path, null!], InFolder("merged")));
        yield return ("EventFile.Write(values)", () =>
        {
            using var log = new EventFile(folder.Path);
            log.Write(1, ("a", 1), (null!, 2));
        });
    }

    IEnumerable<(string, Action)> Data()
    {
        TextDocument[] documents = [new("a", "text"), null!];
        var data = TokenDataset.FromBytes([new("a", new string('a', 100))]);
        yield return ("TextCorpus.FromDocuments(documents)", () => TextCorpus.FromDocuments("source", documents));
        yield return ("TokenDataset.FromDocuments(documents)", () => TokenDataset.FromDocuments(documents, tokenizer));
        yield return ("TokenDataset.FromBytes(documents)", () => TokenDataset.FromBytes(documents));
        yield return ("TokenDataset.Join(parts)", () => TokenDataset.Join(data, null!));
        yield return ("DataMixture.new(sources)", () => _ = new DataMixture(new MixtureSource(data, 1, "a"), null!));
        yield return ("ExampleDataset.FromExamples(examples)", () => ExampleDataset.FromExamples([new([1, 2]), null!], 9));
        yield return ("ExampleDataset.FromPairs(pairs)", () => ExampleDataset.FromPairs([("a", "b"), ("a", null!)], tokenizer));
        yield return ("ExampleDataset.FromChats(chats)", () => ExampleDataset.FromChats(
            [[new(ChatRole.Assistant, "a"), null!]], ChatTemplate.Plain(tokenizer), tokenizer));
        ModelParameter[] parameters = [model.Parameters[0], null!];
        yield return ("AdamW.new(parameters)", () => _ = new AdamW([("a", model.Parameters[0].Value, true), ("b", null!, true)]));
        yield return ("AdamWOptions.Create(parameters)", () => new AdamWOptions().Create(parameters));
        yield return ("Muon.new(parameters)", () => _ = new Muon(parameters));
        yield return ("MuonOptions.Create(parameters)", () => new MuonOptions().Create(parameters));
        var options = new TrainingOptions { LearningRate = 1e-3, ContextLength = 8, BatchSize = 1, Duration = Duration.Steps(1) };
        yield return ("Trainer.new(callbacks)", () => _ = new Trainer(model, data, options, callbacks: [null!]));
        yield return ("Trainer.Resume(callbacks)", () => Trainer.Resume(folder.Path, data, callbacks: [null!]));
    }

    IEnumerable<(string, Action)> Measurements()
    {
        yield return ("ChoiceQuestion.FromChoices(choices)", () => ChoiceQuestion.FromChoices("a", ["b", null!], 0));
        var format = new ChoiceFormat("name", "source", "accuracy", _ => throw new InvalidOperationException());
        yield return ("ChoiceTask.new(questions)", () => _ = new ChoiceTask(format, [null!], tokenizer));
        yield return ("CompletionTask.new(items)", () => _ = new CompletionTask("name", [new("a", "b"), null!], tokenizer));
        yield return ("ModelInspection.Measure(prompts)", () => ModelInspection.Measure(model, [new([1, 2]), null!]));
        var scorer = new ContinuationScorer(model, tokenizer);
        yield return ("ContinuationScorer.Score(requests)", () => scorer.Score([("a", "b"), ("a", null!)]));
        yield return ("ContinuationScorer.ScoreTokens(requests)", () => scorer.ScoreTokens([([1], [2]), (null!, [2])]));
        yield return ("SyntheticTask.MeasureGrid(models)", () => new StateTracking().MeasureGrid([(8, null!)], [8]));
        yield return ("ScalingFit.Fit(points)", () => ScalingFit.Fit([new(1, 3), new(2, 2), null!]));
        yield return ("ScalingCurve.FromBranches(branches)", () => ScalingCurve.FromBranches("a", [null!]));
        yield return ("SweepDesign.MatchSizes(designs)", () => SweepDesign.MatchSizes([new("a", Design), null!]));
        LossCurve curve = new("a", [new(1, 1, 1, 1)]);
        yield return ("LossPlot.Png(curves)", () => LossPlot.Png([curve, null!]));
        yield return ("LossPlot.Png(baselines)", () => LossPlot.Png([curve], [null!]));
        yield return ("LossPlot.WritePng(curves)", () => LossPlot.WritePng(InFolder("a.png"), [curve, null!]));
        yield return ("LossPlot.WritePng(baselines)", () => LossPlot.WritePng(InFolder("a.png"), [curve], [null!]));
        yield return ("EquatableList.Create(items)", () => EquatableList.Create<string>(["a", null!]));
        yield return ("EquatableList.ToEquatableList(items)", () => new[] { "a", null! }.ToEquatableList());
    }

    [Fact]
    public void Each_list_of_each_public_method_has_a_call_here()
    {
        string[] lists = [.. PublicMembers.ListParameters().Select(item => PublicMembers.NameOf(item.Member, item.List)).Distinct()];
        Assert.True(lists.Length > 60, $"{lists.Length} lists; expected those of all packages");
        Assert.Equal([], lists.Except(calls.Keys).Except(Nullable).Except(Forwarded));
    }

    [Fact]
    public void A_null_item_is_refused_by_argument_and_index()
    {
        List<string> wrong = [];
        foreach (var (name, call) in calls)
        {
            string argument = name[(name.IndexOf('(') + 1)..name.IndexOf(')')];
            var error = Record.Exception(call);
            if (error is not ArgumentException refusal || refusal.ParamName != argument
                || !System.Text.RegularExpressions.Regex.IsMatch(refusal.Message, @"[\d\]].*; expected "))
                wrong.Add($"{name}: {error?.GetType().Name}: {error?.Message}");
        }
        Assert.Equal([], wrong);
    }

    [Fact]
    public void Lists_of_options_refuse_null_items_where_they_are_set()
    {
        Assert.Equal("Off", Assert.Throws<ArgumentException>(() => new ReviewOptions { Off = [null!] }).ParamName);
        Assert.Equal("Rules", Assert.Throws<ArgumentException>(() => new ReviewOptions { Rules = [null!] }).ParamName);
        Assert.Equal("Stop", Assert.Throws<ArgumentException>(() => new GenerationOptions { Stop = ["a", null!] }).ParamName);
        Assert.Equal("Processors", Assert.Throws<ArgumentException>(() => new GenerationOptions { Processors = [null!] }).ParamName);
    }
}
