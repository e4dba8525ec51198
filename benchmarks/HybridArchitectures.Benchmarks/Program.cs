using System.CommandLine;
using HybridArchitectures.Benchmarks.Accuracy;
using HybridArchitectures.Benchmarks.Checkpoints;
using HybridArchitectures.Benchmarks.Cpu;
using HybridArchitectures.Benchmarks.Gpu;
using HybridArchitectures.Kernels;
using HybridArchitectures.Training.Distributed;

namespace HybridArchitectures.Benchmarks;

static class Program
{
    static int Main(string[] arguments)
    {
        var root = new RootCommand("Speed of the operators and of loading.") { Cpu(), CpuShared(), CpuStep(), CpuBusy(), GpuOpsCommand(),
            GpuMemoryCommand(), GpuTableCommand(), GpuCallsCommand(), GpuDecodeCommand(), GpuTrainCommand(), GpuRanksCommand(),
            LoadCommand(), StateTypesCommand() };
        return root.Parse(arguments).Invoke();
    }

    static Command Cpu()
    {
        var json = new Option<string?>("--json") { Description = "Where to write the records." };
        var filter = new Option<string?>("--filter") { Description = "Part of 'operation, sizes': only these." };
        var rounds = new Option<int>("--rounds") { Description = "Rounds of both ways.", DefaultValueFactory = _ => 7 };
        var command = new Command("cpu",
            "Operators, a training step and decoding steps in main memory, each compared with plain operators in the same run and with the limit "
            + "of the machine.") { json, filter, rounds };
        command.SetAction(arguments =>
            Guarded(() => CpuRatios.Run(arguments.GetValue(json), arguments.GetValue(filter), arguments.GetValue(rounds))));
        return command;
    }

    static Command CpuShared()
    {
        var rounds = new Option<int>("--rounds") { Description = "Rounds over all settings.", DefaultValueFactory = _ => 3 };
        var seconds = new Option<double>("--seconds") { Description = "How long each measurement takes.", DefaultValueFactory = _ => 6 };
        var busy = new Option<string?>("--busy") { Description = "Measures only next to N busy processes." };
        var command = new Command("cpu-shared",
            "A training step next to busy processes, for several ways of waiting of libtorch's threads.") { rounds, seconds, busy };
        command.SetAction(arguments =>
            Guarded(() => SharedCores.Run(arguments.GetValue(rounds), arguments.GetValue(seconds), arguments.GetValue(busy))));
        return command;
    }

    static Command CpuStep()
    {
        var seconds = new Option<double>("--seconds") { Description = "How long.", DefaultValueFactory = _ => 6 };
        var command = new Command("cpu-step", "The median milliseconds of a training step.") { seconds };
        command.SetAction(arguments => Guarded(() => SharedCores.Step(arguments.GetValue(seconds))));
        return command;
    }

    static Command CpuBusy()
    {
        var command = new Command("cpu-busy", "Keeps a core busy until it is killed.");
        command.SetAction(_ => SharedCores.Busy());
        return command;
    }

    static Command GpuOpsCommand()
    {
        var json = new Option<string?>("--json") { Description = "Where to write the records." };
        var filter = new Option<string?>("--filter") { Description = "Part of 'operator, shape, type': only these cases." };
        var tiny = new Option<bool>("--tiny") { Description = "Small sizes, to see that everything runs." };
        var anchors = new Option<string?>("--anchors")
        {
            Description =
                "run: measure Python's rivals too; none; or a file to take them from, of an earlier run's records or of what the script printed. "
                + "Default: run on cuda, none on cpu.",
        };
        var seconds = new Option<double>("--seconds") { Description = "About how long each median is measured.", DefaultValueFactory = _ => 0.3 };
        var device = DeviceOption();
        var command = new Command("gpu-ops",
            "Operators on a GPU: median times, share of the GPU's limit, ratio to the Python rivals, memory.") { json, filter, device, tiny,
            anchors, seconds };
        command.SetAction(arguments => Guarded(() =>
        {
            var name = arguments.GetValue(device)!;
            return GpuOps.Run(new(arguments.GetValue(json), arguments.GetValue(filter), name, arguments.GetValue(tiny),
                arguments.GetValue(anchors) ?? (name == "cuda" ? "run" : "none"), arguments.GetValue(seconds)));
        }));
        return command;
    }

    static Command GpuMemoryCommand()
    {
        var filter = new Option<string?>("--filter") { Description = "Part of a design's name, or of 'operator, shape, type': only these." };
        var tiny = new Option<bool>("--tiny") { Description = "Small sizes, to see that everything runs." };
        var operators = new Option<bool>("--operators")
        {
            Description = "Instead, what gpu-ops asks for: the most device memory each operator holds, a line of JSON each.",
        };
        var type = new Option<string>("--type") { Description = "bfloat16 or float32: of the activations.", DefaultValueFactory = _ => "bfloat16" };
        type.AcceptOnlyFromAmong("bfloat16", "float32");
        var device = DeviceOption();
        var command = new Command("gpu-memory",
            "The memory of training for designs of every kind of layer, compared with the cost model; 1 if they differ by more than "
            + "a tenth.") { filter, tiny, operators, type, device };
        command.SetAction(arguments => Guarded(() =>
        {
            var where = GpuOps.Named(arguments.GetValue(device)!);
            if (arguments.GetValue(operators)) return GpuMemory.Print(arguments.GetValue(filter), arguments.GetValue(tiny), where);
            if (!HeldMemory.CanMeasure) return TrainingMemoryTable.Run(Environment.GetCommandLineArgs()[1..]);
            return TrainingMemoryTable.Print(
                arguments.GetValue(filter), arguments.GetValue(tiny), where,
                arguments.GetValue(type) == "float32" ? TorchSharp.torch.ScalarType.Float32 : TorchSharp.torch.ScalarType.BFloat16);
        }));
        return command;
    }

    static Command GpuTableCommand()
    {
        var file = new Argument<string>("file") { Description = "Records that gpu-ops wrote." };
        var command = new Command("gpu-table", "The records of gpu-ops as a table in Markdown.") { file };
        command.SetAction(arguments => Guarded(() => GpuOps.Print(arguments.GetValue(file)!)));
        return command;
    }

    static Command GpuDecodeCommand()
    {
        var filter = new Option<string?>("--filter") { Description = "Part of a design's name: only these." };
        var parts = new Option<string>("--parts")
        {
            Description = "What to measure, separated by commas: kernels, steps, launches, decode, long, drafts, eager, prefill, "
                + "lengths, load.", DefaultValueFactory = _ =>
                "decode,eager,prefill,load",
        };
        var batches = new Option<string>("--batches") { Description = "Numbers of rows.", DefaultValueFactory = _ => "1,4,64" };
        var tiny = new Option<bool>("--tiny") { Description = "Small models, to see that everything runs." };
        var anchors = new Option<bool>("--anchors") { Description = "Measure Hugging Face transformers too." };
        var states = new Option<string>("--states")
        {
            Description = "The type in which recurrent states are stored between steps: float32 or bfloat16.",
            DefaultValueFactory = _ => "float32",
        };
        states.AcceptOnlyFromAmong("float32", "bfloat16");
        var (device, json) = (DeviceOption(), FiguresOption());
        var command = new Command("gpu-decode",
            "Decoding and prefill of the 1B recipes on a GPU: tokens per second, times of first calls, memory of loading.")
            { filter, parts, batches, tiny, anchors, states, device, json };
        command.SetAction(arguments => Guarded(() =>
        {
            var place = GpuOps.Named(arguments.GetValue(device)!);
            return new GpuDecode(arguments.GetValue(filter), arguments.GetValue(parts)!.Split(','),
                [.. arguments.GetValue(batches)!.Split(',').Select(int.Parse)], arguments.GetValue(tiny), arguments.GetValue(anchors), place,
                arguments.GetValue(states) == "bfloat16" ? TorchSharp.torch.ScalarType.BFloat16 : TorchSharp.torch.ScalarType.Float32,
                new FigureFile(arguments.GetValue(json), place)).Run();
        }));
        return command;
    }

    static Command StateTypesCommand()
    {
        var folder = new Argument<string>("folder") { Description = "A checkpoint of this library whose tokens are bytes." };
        var text = new Argument<string>("text") { Description = "A text file that the model was not trained on." };
        var rows = new Option<int>("--rows") { Description = "The number of rows.", DefaultValueFactory = _ => 8 };
        var length = new Option<int>("--length") { Description = "The number of bytes of a row.", DefaultValueFactory = _ => 2048 };
        var command = new Command("state-types", "Losses and logits with recurrent states in bfloat16 and in float32, token by token on the CPU.")
            { folder, text, rows, length };
        command.SetAction(arguments => Guarded(() => new StateTypeAccuracy(arguments.GetValue(folder)!, arguments.GetValue(text)!,
            arguments.GetValue(rows), arguments.GetValue(length)).Run()));
        return command;
    }

    static Command GpuRanksCommand()
    {
        var check = new Option<bool>("--check") { Description = "Checks every operation of NCCL, and times an all-reduce." };
        var recipe = new Option<string?>("--recipe")
        {
            Description = "The recipe, at a context of 8192. Default: a small model, whose losses are printed.",
        };
        var rows = new Option<int>("--rows") { Description = "Rows of a step, of all ranks.", DefaultValueFactory = _ => 8 };
        var micro = new Option<int>("--micro") { Description = "Rows of a pass of one rank.", DefaultValueFactory = _ => 2 };
        var steps = new Option<int>("--steps") { Description = "Steps.", DefaultValueFactory = _ => 50 };
        var strategy = new Option<DataParallelStrategy>("--strategy") { Description = "What is divided over the ranks." };
        var device = DeviceOption();
        var command = new Command("gpu-ranks", "Training on several GPUs, one process each, started by a launcher such as mpirun or torchrun.")
            { check, recipe, rows, micro, steps, strategy, device };
        command.SetAction(arguments => Guarded(() => arguments.GetValue(check) ? GpuRanks.Check() : GpuRanks.Train(arguments.GetValue(recipe),
            arguments.GetValue(rows), arguments.GetValue(micro), arguments.GetValue(steps), arguments.GetValue(strategy),
            GpuOps.Named(arguments.GetValue(device)!))));
        return command;
    }

    static Command GpuTrainCommand()
    {
        var filter = new Option<string?>("--filter") { Description = "Parts of names of cases, separated by semicolons: only these." };
        var tiny = new Option<bool>("--tiny") { Description = "Small models, to see that everything runs." };
        var anchors = new Option<bool>("--anchors") { Description = "Measure PyTorch too." };
        var folder = new Option<string?>("--kernels") { Description = "The folder for the kernels of a step of each case, one file each." };
        var saves = new Option<bool>("--save-inputs") { Description = "Save inputs that the backward pass could compute again." };
        var (device, json) = (DeviceOption(), FiguresOption());
        var command = new Command("gpu-train",
            "Training steps: tokens per second, model FLOP utilisation, memory, and the time of each group of kernels.")
            { filter, tiny, anchors, folder, saves, device, json };
        command.SetAction(arguments => Guarded(() =>
        {
            var place = GpuOps.Named(arguments.GetValue(device)!);
            using var options = OperatorOptions.Use(OperatorOptions.Current with { RecomputeInputs = !arguments.GetValue(saves) });
            return new GpuTrain(arguments.GetValue(filter), arguments.GetValue(tiny), arguments.GetValue(anchors), arguments.GetValue(folder), place,
                new FigureFile(arguments.GetValue(json), place)).Run();
        }));
        return command;
    }

    static Command GpuCallsCommand()
    {
        var json = new Option<string?>("--json") { Description = "Where to write the records." };
        var device = DeviceOption();
        var command = new Command("gpu-calls", "What one call of each operator costs the host, at sizes where the GPU is idle.") { json,
            device };
        command.SetAction(arguments => Guarded(() => GpuCalls.Run(arguments.GetValue(json), arguments.GetValue(device)!)));
        return command;
    }

    static Command LoadCommand()
    {
        var gigabytes = new Option<double>("--gigabytes")
        {
            Description = "Size of the checkpoint, which is made first and deleted afterwards.",
            DefaultValueFactory = _ => 2,
        };
        var folder = new Option<string?>("--folder") { Description = "Where to make it. Default: the folder for temporary files." };
        var repeats = new Option<int>("--repeats")
        {
            Description = "How often each way is measured; the fastest counts.",
            DefaultValueFactory = _ => 3,
        };
        var command = new Command("load", "Loading of a bfloat16 checkpoint against a plain read of its file.") { gigabytes, folder, repeats };
        command.SetAction(arguments =>
            Guarded(() => LoadBenchmark.Run(arguments.GetValue(gigabytes), arguments.GetValue(folder), arguments.GetValue(repeats))));
        return command;
    }

    static Option<string?> FiguresOption() =>
        new("--json") { Description = "The file to which the figures are added. Kinds that are measured again are replaced." };

    static Option<string> DeviceOption()
    {
        var device = new Option<string>("--device") { Description = "cuda or cpu.", DefaultValueFactory = _ => "cuda" };
        device.AcceptOnlyFromAmong("cuda", "cpu");
        return device;
    }

    static int Guarded(Func<int> run)
    {
        try
        {
            return run();
        }
        catch (Exception e) when (e is ArgumentException or IOException or UnauthorizedAccessException or System.Text.Json.JsonException
            or DllNotFoundException)
        {
            Console.Error.WriteLine(e.Message);
            return 2;
        }
    }
}
