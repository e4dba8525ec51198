// Trains a tiny model that saves often, resumes where an earlier process of the same folder died, and prints the saved steps.
//   KilledRun FOLDER STEPS plain|slow|die [N]      slow: saves take long; die: the process kills itself at the N-th step of writing and deleting
//                                                  checkpoints
//   KilledRun saves FOLDER COUNT N                 saves one model COUNT times to one folder and loads it, next to others;
//                                                  kills itself at the N-th step of writing; 0: never
//   KilledRun shards FOLDER N FILE...              writes token shards and kills itself at the N-th step of that; 0: never
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Tokenization;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;
using KilledRun;
using TorchSharp;

if (args[0] == "saves")
{
    SharedSaves.Run(args[1], int.Parse(args[2]), int.Parse(args[3]));
    return;
}

if (args[0] == "shards")
{
    using var writes = StorageSteps.KillAt(int.Parse(args[2]));
    TokenShards.Write(args[3..], args[1], new ByteTokenizer(endOfText: true),
        new ShardingOptions { EndOfText = true, TokensPerShard = 700, Workers = 2 });
    return;
}

var (folder, steps, mode) = (args[0], long.Parse(args[1]), args[2]);
using var listener = mode switch
{
    "slow" => new StorageSteps(() => Thread.Sleep(3)),
    "die" => StorageSteps.KillAt(int.Parse(args[3])),
    _ => null,
};
Console.WriteLine("ready");

const int vocabulary = 20;
var random = new Random(1);
var tokens = new int[600];
for (int i = 1; i < tokens.Length; i++) tokens[i] = random.Next(4) == 0 ? random.Next(vocabulary) : (tokens[i - 1] * 3 + 1) % vocabulary;
using var training = TokenDataset.FromTokens(tokens, vocabulary, [.. Enumerable.Range(0, 60).Select(i => i * 10L)]);
using var heldOut = TokenDataset.FromTokens(tokens.AsSpan(0, 60), vocabulary);

bool begun = Trainer.HasCheckpoint(folder);
using var fresh = begun ? null : new HybridDesign
{
    Width = 8, VocabularySize = vocabulary,
    Blocks =
    [
        new BlockSpec
        {
            Mixer = new Mamba2Spec { Heads = 2, HeadSize = 4, StateSize = 4, ChunkSize = 8 }, FeedForward = FeedForwardSpec.MixtureOfExperts(3, 1, 8),
        },
        new BlockSpec
        {
            Mixer = new AttentionSpec { Heads = 2, KeyValueHeads = 1, HeadSize = 4, Rotary = new RotarySpec() },
            FeedForward = FeedForwardSpec.SwiGlu(12),
        },
    ],
}.Resolve().CreateModel(seed: 1);
if (!begun) torch.manual_seed(7);
TrainingCallback[] callbacks = [new Noise(), new Journal()];
using var trainer = begun ? Trainer.Resume(folder, training, heldOut, callbacks) : new Trainer(fresh!, training, new TrainingOptions
{
    LearningRate = 0.01, ContextLength = 12, BatchSize = 4, MicroBatchSize = 3, Duration = Duration.Steps(steps), Seed = 5, ReportEvery = 7,
    SeparateDocuments = true, ActivationCheckpointing = true, CheckpointEvery = 2,
    KeepLast = 2, KeepEvery = 20, Folder = folder,
}, heldOut, callbacks);
using var resumed = begun ? trainer.Model : null;
Console.WriteLine($"began {trainer.Step}");
trainer.Run();
Console.WriteLine("done");
