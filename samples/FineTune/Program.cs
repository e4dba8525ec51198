using FineTune;
using HybridArchitectures.Adapters;
using HybridArchitectures.Chat;
using HybridArchitectures.Design;
using HybridArchitectures.Generation;
using HybridArchitectures.Models;
using HybridArchitectures.Tokenization;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;
using Microsoft.Extensions.AI;

SampleConsole.Prepare();

// Fine-tunes a small hybrid on conversations: a chat template, packed rows, a loss on the answers alone, and low-rank adapters.
var tokenizer = new ByteTokenizer(endOfText: true);
var template = ChatTemplate.Plain(tokenizer);
using var model = HybridDesign.Create(width: 96, tokenizer.VocabularySize)
    .WithAttention(heads: 6, keyValueHeads: 2).WithMamba2(stateSize: 16, headSize: 32).WithFeedForward(FeedForwardSpec.SwiGlu(256))
    .Pattern("MTMM").Build().CreateModel(seed: 1);

// 1. A base model, which has only read documentation. Start from a checkpoint instead: Checkpoint.Load(folder) or PretrainedModel.
using (var text = TokenDataset.FromDocuments(DocumentationCorpus.Load().Training, tokenizer, endOfText: true))
using (var trainer = new Trainer(model, text, new TrainingOptions
{
    LearningRate = 4e-3, ContextLength = 128, BatchSize = 8, Duration = Duration.Steps(100), ReportEvery = 50,
})) trainer.Run(new Lines("text"));
Answers("before");

// 2. The adapters are trained, and the weights of the model are frozen.
using var adapters = LoraAdapters.Attach(model, new LoraOptions { Rank = 16, Alpha = 32 });
var chats = ExampleDataset.FromChats(Conversations.All, template, tokenizer);
Console.WriteLine($"{chats.Count} answers; {model.Parameters.Sum(item => item.Value.NumberOfElements):N0} of "
    + $"{model.State.Values.Sum(value => value.NumberOfElements):N0} numbers are trained");
using (var trainer = new Trainer(model, chats, new TrainingOptions
{
    LearningRate = 1e-2, ContextLength = 256, BatchSize = 4, Duration = Duration.Steps(120), ReportEvery = 40,
})) trainer.Run(new Lines("chats"));

int right = Answers("after");
adapters.Save(Path.Combine(Directory.CreateDirectory("runs/fine-tune").FullName, "adapters.safetensors"));
Console.WriteLine($"{right} of {Conversations.Questions.Count} answers are those of the conversations; the adapters are in runs/fine-tune");
return right == Conversations.Questions.Count ? 0 : 1;

// prints the answers, and returns how many are right
int Answers(string when)
{
    var generator = new TextGenerator(model, tokenizer);
    int right = 0;
    foreach (var (question, answer) in Conversations.Questions)
    {
        var result = generator.Generate(template.Encode([new(ChatRole.User, question)]), new GenerationOptions
        {
            MaxNewTokens = 40, Temperature = 0, Stop = [.. template.Stop, "\n"],
        });
        string given = result.Text.Trim();
        if (given == answer) right++;
        Console.WriteLine($"{when}: {question} -> {given}");
    }
    return right;
}
